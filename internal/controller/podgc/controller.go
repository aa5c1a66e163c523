// Package podgc removes the objects of pods that nobody else will remove: ended
// ones beyond a number, those of nodes that are gone or out of service, and
// deleted ones that never had a node.
package podgc

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"nau/internal/controller/loop"
)

// Config is what the controller needs; the caller starts the factory.
type Config struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	Keep      int         // ended pods that may stay; 0 is 12500, as upstream
	Clock     clock.Clock // nil is the wall clock
	Log       *slog.Logger
}

// Controller is the controller. Its one key is the whole cluster: events that
// cannot lead to a removal do not wake it.
type Controller struct {
	client  kubernetes.Interface
	pods    corelisters.PodLister
	nodes   corelisters.NodeLister
	keep    int
	clock   clock.Clock
	missing map[string]time.Time // only the worker's
	loop    *loop.Loop[string]
}

const everything = "cluster"

// New makes the controller.
func New(c Config) (*Controller, error) {
	core := c.Informers.Core().V1()
	k := &Controller{client: c.Client, pods: core.Pods().Lister(), nodes: core.Nodes().Lister(), keep: c.Keep, clock: c.Clock, missing: map[string]time.Time{}}
	if k.keep == 0 {
		k.keep = 12500
	}
	if k.clock == nil {
		k.clock = clock.RealClock{}
	}
	k.loop = loop.New("pod-gc", c.Log, k.sync)
	wake := func() { k.loop.Add(everything) }
	if err := k.loop.On(core.Pods().Informer(), cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) {
			if pod, ok := obj.(*corev1.Pod); ok && k.matters(nil, pod) {
				wake()
			}
		},
		UpdateFunc: func(old, obj any) {
			if k.matters(old.(*corev1.Pod), obj.(*corev1.Pod)) {
				wake()
			}
		},
	}); err != nil {
		return nil, err
	}
	return k, k.loop.On(core.Nodes().Informer(), cache.ResourceEventHandlerFuncs{
		UpdateFunc: func(_, obj any) {
			if outOfService(obj.(*corev1.Node)) {
				wake()
			}
		},
		DeleteFunc: func(any) { wake() },
	})
}

// matters tells whether a pod's change may lead to a removal.
func (k *Controller) matters(old, pod *corev1.Pod) bool {
	if ended(pod) && (old == nil || !ended(old)) {
		return true
	}
	if pod.DeletionTimestamp != nil && (old == nil || old.DeletionTimestamp == nil) {
		return true
	}
	if pod.Spec.NodeName != "" && (old == nil || old.Spec.NodeName == "") {
		_, err := k.nodes.Get(pod.Spec.NodeName)
		return apierrors.IsNotFound(err)
	}
	return false
}

// Run works until ctx ends.
func (k *Controller) Run(ctx context.Context) error { return k.loop.Run(ctx, 1) }

func (k *Controller) sync(ctx context.Context, _ string) error {
	pods, err := k.pods.List(labels.Everything())
	if err != nil {
		return err
	}
	nodes, err := k.nodes.List(labels.Everything())
	if err != nil {
		return err
	}
	now := k.clock.Now()
	state := State{Pods: pods, Nodes: map[string]*corev1.Node{}, Missing: k.missing, Keep: k.keep}
	for _, node := range nodes {
		state.Nodes[node.Name] = node
	}
	k.noteMissing(now, state)
	for _, r := range Decide(now, state) {
		if err := k.remove(ctx, now, r); err != nil {
			return err
		}
	}
	return nil
}

// noteMissing notes since when nodes are missing, and comes back when the first
// of them has been for long enough.
func (k *Controller) noteMissing(now time.Time, s State) {
	named := map[string]bool{}
	for _, pod := range s.Pods {
		name := pod.Spec.NodeName
		if name == "" || s.Nodes[name] != nil {
			continue
		}
		named[name] = true
		if _, ok := k.missing[name]; !ok {
			k.missing[name] = now
			k.loop.AddAfter(everything, Quarantine)
		}
	}
	for name := range k.missing {
		if !named[name] {
			delete(k.missing, name)
		}
	}
}

func (k *Controller) remove(ctx context.Context, now time.Time, r Removal) error {
	pod := r.Pod
	if r.Reason == Orphaned {
		if _, err := k.client.CoreV1().Nodes().Get(ctx, pod.Spec.NodeName, metav1.GetOptions{}); err == nil {
			return nil // it is back; the informer will say so
		} else if !apierrors.IsNotFound(err) {
			return err
		}
	}
	if r.Reason != Terminated && !ended(pod) {
		status := map[string]any{"phase": corev1.PodFailed}
		if r.Reason == Orphaned {
			status["conditions"] = []corev1.PodCondition{condition(now)}
		}
		patch, err := json.Marshal(map[string]any{"status": status})
		if err != nil {
			return err
		}
		_, err = k.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("mark pod %s/%s: %w", pod.Namespace, pod.Name, err)
		}
	}
	none := int64(0)
	err := k.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &none, Preconditions: metav1.NewUIDPreconditions(string(pod.UID))})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("remove pod %s/%s (%s): %w", pod.Namespace, pod.Name, r.Reason, err)
	}
	return nil
}
