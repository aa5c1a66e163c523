// Package nodelifecycle watches over nodes: a silent one's conditions become
// Unknown, conditions become taints, pods on nodes that are not ready are marked
// so, and pods that do not tolerate a taint that forbids execution are evicted
// when their time is up.
package nodelifecycle

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"nau/internal/controller/loop"
)

// Config is what the controller needs; the caller starts the factory.
type Config struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	Recorder  record.EventRecorder
	Clock     clock.Clock // nil is the wall clock
	Log       *slog.Logger
}

// Controller is the controller: one loop over nodes, one over pods that may have
// to leave.
type Controller struct {
	client   kubernetes.Interface
	nodes    corelisters.NodeLister
	pods     corelisters.PodLister
	byNode   cache.Indexer
	recorder record.EventRecorder
	clock    clock.Clock
	loop     *loop.Loop[string]
	leaving  *loop.Loop[cache.ObjectName]

	mu    sync.Mutex
	heard map[string]time.Time // node → when its lease or status last changed, by our clock
}

const indexByNode = "nau-node"

// New makes the controller.
func New(c Config) (*Controller, error) {
	core := c.Informers.Core().V1()
	pods := core.Pods().Informer()
	if _, ok := pods.GetIndexer().GetIndexers()[indexByNode]; !ok {
		if err := pods.AddIndexers(cache.Indexers{indexByNode: func(obj any) ([]string, error) {
			if pod, ok := obj.(*corev1.Pod); ok && pod.Spec.NodeName != "" {
				return []string{pod.Spec.NodeName}, nil
			}
			return nil, nil
		}}); err != nil {
			return nil, err
		}
	}
	k := &Controller{
		client: c.Client, nodes: core.Nodes().Lister(), pods: core.Pods().Lister(), byNode: pods.GetIndexer(),
		recorder: c.Recorder, clock: c.Clock, heard: map[string]time.Time{},
	}
	if k.clock == nil {
		k.clock = clock.RealClock{}
	}
	k.loop = loop.New("node-lifecycle", c.Log, k.syncNode)
	k.leaving = loop.New("taint-eviction", c.Log, k.syncPod)
	return k, k.listen(core.Nodes().Informer(), pods, c.Informers.Coordination().V1().Leases().Informer())
}

func (k *Controller) listen(nodes, pods, leases cache.SharedIndexInformer) error {
	if err := k.loop.On(nodes, cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) {
			node := obj.(*corev1.Node)
			k.hear(node.Name)
			k.loop.Add(node.Name)
			k.look(node)
			k.event(node, "RegisteredNode", "Node %s event: Registered Node %s in Controller", node.Name, node.Name)
		},
		UpdateFunc: func(was, is any) {
			old, node := was.(*corev1.Node), is.(*corev1.Node)
			if a, b := ready(old), ready(node); b != nil && (a == nil || !a.LastHeartbeatTime.Equal(&b.LastHeartbeatTime)) && b.Status != corev1.ConditionUnknown {
				k.hear(node.Name)
			}
			k.loop.Add(node.Name)
			k.look(node)
		},
		DeleteFunc: func(obj any) {
			if node, ok := loop.Last(obj).(*corev1.Node); ok {
				k.mu.Lock()
				delete(k.heard, node.Name)
				k.mu.Unlock()
			}
		},
	}); err != nil {
		return err
	}
	if err := k.loop.On(leases, cache.ResourceEventHandlerFuncs{
		UpdateFunc: func(_, obj any) {
			if lease := obj.(*coordinationv1.Lease); lease.Namespace == corev1.NamespaceNodeLease {
				k.hear(lease.Name)
			}
		},
	}); err != nil {
		return err
	}
	return k.leaving.On(pods, cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) { k.assigned(nil, obj.(*corev1.Pod)) },
		UpdateFunc: func(old, obj any) {
			k.assigned(old.(*corev1.Pod), obj.(*corev1.Pod))
		},
	})
}

func (k *Controller) hear(node string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.heard[node] = k.clock.Now()
}

// look has the pods of a node judged whose taints forbid execution.
func (k *Controller) look(node *corev1.Node) {
	if !forbids(node) {
		return
	}
	for _, pod := range k.on(node.Name) {
		k.leaving.Add(cache.MetaObjectToName(pod))
	}
}

func (k *Controller) assigned(old, pod *corev1.Pod) {
	if pod.Spec.NodeName == "" || old != nil && old.Spec.NodeName != "" {
		return
	}
	if node, err := k.nodes.Get(pod.Spec.NodeName); err == nil && forbids(node) {
		k.leaving.Add(cache.MetaObjectToName(pod))
	}
}

func forbids(node *corev1.Node) bool {
	for i := range node.Spec.Taints {
		if node.Spec.Taints[i].Effect == corev1.TaintEffectNoExecute {
			return true
		}
	}
	return false
}

func (k *Controller) on(node string) []*corev1.Pod {
	objects, err := k.byNode.ByIndex(indexByNode, node)
	if err != nil {
		return nil
	}
	var out []*corev1.Pod
	for _, obj := range objects {
		out = append(out, obj.(*corev1.Pod))
	}
	return out
}

// Run works until ctx ends.
func (k *Controller) Run(ctx context.Context) error {
	var both sync.WaitGroup
	var err error
	both.Go(func() { err = k.leaving.Run(ctx, 2) })
	nodes := k.loop.Run(ctx, 2)
	both.Wait()
	if nodes != nil {
		return nodes
	}
	return err
}

func (k *Controller) syncNode(ctx context.Context, name string) error {
	node, err := k.nodes.Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	now := k.clock.Now()
	k.mu.Lock()
	heard, known := k.heard[name]
	if !known {
		heard = now
		k.heard[name] = now
	}
	k.mu.Unlock()
	quiet, due := silent(now, heard, node)
	if !quiet {
		k.loop.AddAfter(name, due.Sub(now))
	} else if conditions, changed := unknownConditions(now, node); changed {
		node = node.DeepCopy()
		node.Status.Conditions = conditions
		if node, err = k.client.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("mark node %s unknown: %w", name, err)
		}
		k.event(node, "NodeNotReady", "Node %s status is now: NodeNotReady", name)
	}
	if want, changed := taints(now, node); changed {
		if err := k.taint(ctx, node, want); err != nil {
			return err
		}
	}
	if c := ready(node); c != nil && c.Status != corev1.ConditionTrue {
		return k.markPods(ctx, name)
	}
	return nil
}

func (k *Controller) taint(ctx context.Context, node *corev1.Node, want []corev1.Taint) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"resourceVersion": node.ResourceVersion}, "spec": map[string]any{"taints": want}})
	if err != nil {
		return err
	}
	if _, err := k.client.CoreV1().Nodes().Patch(ctx, node.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("taint node %s: %w", node.Name, err)
	}
	return nil
}

// markPods says on the pods of a node that is not ready that they are not
// either: its agent cannot.
func (k *Controller) markPods(ctx context.Context, node string) error {
	for _, pod := range k.on(node) {
		for _, c := range pod.Status.Conditions {
			if c.Type != corev1.PodReady || c.Status != corev1.ConditionTrue {
				continue
			}
			patch, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": []corev1.PodCondition{{
				Type: corev1.PodReady, Status: corev1.ConditionFalse, LastTransitionTime: metav1.NewTime(k.clock.Now()), ObservedGeneration: pod.Generation,
			}}}})
			if err != nil {
				return err
			}
			_, err = k.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
			if err != nil && !apierrors.IsNotFound(err) {
				return fmt.Errorf("mark pod %s/%s not ready: %w", pod.Namespace, pod.Name, err)
			}
			k.event(pod, "NodeNotReady", "Node is not ready")
		}
	}
	return nil
}

func (k *Controller) syncPod(ctx context.Context, name cache.ObjectName) error {
	pod, err := k.pods.Pods(name.Namespace).Get(name.Name)
	if apierrors.IsNotFound(err) || err == nil && pod.DeletionTimestamp != nil {
		return nil
	}
	if err != nil {
		return err
	}
	node, err := k.nodes.Get(pod.Spec.NodeName)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	now := k.clock.Now()
	at, leave := eviction(now, pod, node)
	if !leave {
		return nil
	}
	if at.After(now) {
		k.leaving.AddAfter(name, at.Sub(now))
		return nil
	}
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": []corev1.PodCondition{{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "DeletionByTaintManager",
		Message: "Taint manager: deleting due to NoExecute taint", LastTransitionTime: metav1.NewTime(now), ObservedGeneration: pod.Generation,
	}}}})
	if err != nil {
		return err
	}
	pods := k.client.CoreV1().Pods(pod.Namespace)
	if _, err := pods.Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("mark pod %s: %w", name, err)
	}
	k.event(pod, "TaintManagerEviction", "Marking for deletion Pod %s", name)
	err = pods.Delete(ctx, pod.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(pod.UID))})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("evict pod %s: %w", name, err)
	}
	return nil
}

func (k *Controller) event(obj runtime.Object, reason, format string, args ...any) {
	if k.recorder == nil {
		return
	}
	kind := corev1.EventTypeNormal
	if reason == "NodeNotReady" {
		if _, ok := obj.(*corev1.Pod); ok {
			kind = corev1.EventTypeWarning
		}
	}
	k.recorder.Eventf(obj, kind, reason, format, args...)
}
