// Package disruption keeps the status of pod disruption budgets: how many of the pods that a budget selects may be evicted
// now. Pods of ReplicationControllers, ReplicaSets, Deployments and StatefulSets have a wanted number; a budget by percentage
// or maxUnavailable over pods of other controllers is reported as failed.
//
// It evicts nothing and holds nothing up: the API server's eviction endpoint reads the status and books each eviction there.
// Only cluster imports it.
package disruption

import (
	"context"
	"fmt"
	"log/slog"
	"maps"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	appslisters "k8s.io/client-go/listers/apps/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	policylisters "k8s.io/client-go/listers/policy/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"nau/internal/controller/loop"
)

// Config is what the controller needs; the caller starts the factory.
type Config struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	Recorder  record.EventRecorder // nil tells nobody
	Clock     clock.Clock          // nil is the wall clock
	Log       *slog.Logger
}

// Controller is the controller.
type Controller struct {
	client       kubernetes.Interface
	budgets      policylisters.PodDisruptionBudgetLister
	pods         corelisters.PodLister
	controllers  corelisters.ReplicationControllerLister
	replicaSets  appslisters.ReplicaSetLister
	deployments  appslisters.DeploymentLister
	statefulSets appslisters.StatefulSetLister
	recorder     record.EventRecorder
	clock        clock.Clock
	loop         *loop.Loop[cache.ObjectName]
}

// New makes the controller.
func New(c Config) (*Controller, error) {
	core, apps, budgets := c.Informers.Core().V1(), c.Informers.Apps().V1(), c.Informers.Policy().V1().PodDisruptionBudgets()
	k := &Controller{client: c.Client, budgets: budgets.Lister(), pods: core.Pods().Lister(), controllers: core.ReplicationControllers().Lister(),
		replicaSets: apps.ReplicaSets().Lister(), deployments: apps.Deployments().Lister(), statefulSets: apps.StatefulSets().Lister(),
		recorder: c.Recorder, clock: c.Clock}
	if k.clock == nil {
		k.clock = clock.RealClock{}
	}
	k.loop = loop.New("disruption", c.Log, k.sync)
	k.loop.Needs(core.ReplicationControllers().Informer(), apps.ReplicaSets().Informer(), apps.Deployments().Informer(), apps.StatefulSets().Informer())
	if err := k.loop.Watch(budgets.Informer(), func(obj any) []cache.ObjectName {
		return []cache.ObjectName{cache.MetaObjectToName(obj.(*policyv1.PodDisruptionBudget))}
	}); err != nil {
		return nil, err
	}
	return k, k.loop.On(core.Pods().Informer(), cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) { k.podChanged(obj.(*corev1.Pod)) },
		UpdateFunc: func(old, obj any) {
			was, is := old.(*corev1.Pod), obj.(*corev1.Pod)
			relabelled := !maps.Equal(was.Labels, is.Labels)
			if relabelled {
				k.podChanged(was)
			}
			if relabelled || ready(was) != ready(is) || (was.DeletionTimestamp == nil) != (is.DeletionTimestamp == nil) ||
				!equality.Semantic.DeepEqual(was.OwnerReferences, is.OwnerReferences) {
				k.podChanged(is)
			}
		},
		DeleteFunc: func(obj any) {
			if pod, ok := loop.Last(obj).(*corev1.Pod); ok {
				k.podChanged(pod)
			}
		},
	})
}

// podChanged wakes the budgets that select the pod.
func (k *Controller) podChanged(pod *corev1.Pod) {
	list, err := k.budgets.PodDisruptionBudgets(pod.Namespace).List(labels.Everything())
	if err != nil {
		return
	}
	for _, b := range list {
		if s, err := metav1.LabelSelectorAsSelector(b.Spec.Selector); err == nil && s.Matches(labels.Set(pod.Labels)) {
			k.loop.Add(cache.MetaObjectToName(b))
		}
	}
}

// Run works until ctx ends.
func (k *Controller) Run(ctx context.Context) error { return k.loop.Run(ctx, 1) }

func (k *Controller) sync(ctx context.Context, key cache.ObjectName) error {
	b, err := k.budgets.PodDisruptionBudgets(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	s := State{Budget: b}
	selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
	if err != nil {
		s.Wrong = fmt.Errorf("read selector: %w", err)
	} else if s.Pods, err = k.pods.Pods(key.Namespace).List(selector); err != nil {
		return err
	}
	if Scaled(b) && s.Wrong == nil {
		s.Scale, s.Wrong = k.scale(s.Pods)
	}
	if len(s.Pods) == 0 && k.recorder != nil {
		k.recorder.Event(b, corev1.EventTypeNormal, "NoPods", "No matching pods found")
	}
	now := k.clock.Now()
	status, again := Decide(now, s)
	if !again.IsZero() {
		k.loop.AddAfter(key, again.Sub(now))
	}
	if equality.Semantic.DeepEqual(&status, &b.Status) {
		return nil
	}
	next := *b
	next.Status = status
	if _, err := k.client.PolicyV1().PodDisruptionBudgets(key.Namespace).UpdateStatus(ctx, &next, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("write status of budget %s: %w", key, err)
	}
	return nil
}

// scale sums up what the pods' controllers ask for, each counted once. Pods without one count for nothing.
func (k *Controller) scale(pods []*corev1.Pod) (sum int32, err error) {
	seen := map[types.UID]bool{}
	for _, pod := range pods {
		ref := metav1.GetControllerOf(pod)
		if ref == nil || seen[ref.UID] {
			continue
		}
		seen[ref.UID] = true
		uid, n, err := k.replicas(pod.Namespace, ref)
		if err != nil {
			return 0, fmt.Errorf("find the controller of pod %s: %w", pod.Name, err)
		}
		if uid == ref.UID || !seen[uid] { // several replica sets may be one deployment's
			sum += n
		}
		seen[uid] = true
	}
	return sum, nil
}

// replicas is what a pod's controller, or the deployment above it, asks for.
func (k *Controller) replicas(namespace string, ref *metav1.OwnerReference) (types.UID, int32, error) {
	number := func(m metav1.Object, n *int32) (types.UID, int32, error) {
		switch {
		case m.GetUID() != ref.UID:
			return "", 0, fmt.Errorf("%s %s is not the one of uid %s", ref.Kind, ref.Name, ref.UID)
		case n == nil:
			return ref.UID, 1, nil
		}
		return ref.UID, *n, nil
	}
	switch ref.Kind {
	case "ReplicationController":
		c, err := k.controllers.ReplicationControllers(namespace).Get(ref.Name)
		if err != nil {
			return "", 0, err
		}
		return number(c, c.Spec.Replicas)
	case "StatefulSet":
		c, err := k.statefulSets.StatefulSets(namespace).Get(ref.Name)
		if err != nil {
			return "", 0, err
		}
		return number(c, c.Spec.Replicas)
	case "Deployment":
		c, err := k.deployments.Deployments(namespace).Get(ref.Name)
		if err != nil {
			return "", 0, err
		}
		return number(c, c.Spec.Replicas)
	case "ReplicaSet":
		c, err := k.replicaSets.ReplicaSets(namespace).Get(ref.Name)
		if err != nil {
			return "", 0, err
		}
		if above := metav1.GetControllerOf(c); above != nil && above.Kind == "Deployment" {
			return k.replicas(namespace, above)
		}
		return number(c, c.Spec.Replicas)
	}
	return "", 0, fmt.Errorf("%s %s has no scale that is known here", ref.Kind, ref.Name)
}
