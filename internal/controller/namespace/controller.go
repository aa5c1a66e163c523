// Package namespace empties namespaces that are being deleted and then lets
// them go: pods first, then everything else that discovery finds, then the
// finalizer "kubernetes". What waits for whom is said in the conditions. While
// something stays, for its finalizers' sake or because a pod takes its time, it
// is watched; nothing is looked at again before it changes.
package namespace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/utils/clock"

	"nau/internal/controller/loop"
)

// Config is what the controller needs; the caller starts the factory.
type Config struct {
	Client    kubernetes.Interface
	Metadata  metadata.Interface
	Informers informers.SharedInformerFactory
	Clock     clock.Clock // nil is the wall clock
	Log       *slog.Logger
}

// Controller is the controller; its keys are namespaces.
type Controller struct {
	client     kubernetes.Interface
	metadata   metadata.Interface
	namespaces corelisters.NamespaceLister
	clock      clock.Clock
	loop       *loop.Loop[string]

	mu      sync.Mutex
	waits   map[string]context.CancelFunc // of namespaces that have content left
	watches sync.WaitGroup
}

// New makes the controller.
func New(c Config) (*Controller, error) {
	core := c.Informers.Core().V1()
	k := &Controller{client: c.Client, metadata: c.Metadata, namespaces: core.Namespaces().Lister(), clock: c.Clock, waits: map[string]context.CancelFunc{}}
	if k.clock == nil {
		k.clock = clock.RealClock{}
	}
	k.loop = loop.New("namespace", c.Log, k.sync)
	return k, k.loop.Watch(core.Namespaces().Informer(), func(obj any) []string {
		if namespace, ok := obj.(*corev1.Namespace); ok && namespace.DeletionTimestamp != nil {
			return []string{namespace.Name}
		}
		return nil
	})
}

// Run works until ctx ends.
func (k *Controller) Run(ctx context.Context) error {
	defer k.watches.Wait()
	return k.loop.Run(ctx, 4)
}

func (k *Controller) sync(ctx context.Context, name string) error {
	k.awaitNoMore(name)
	namespace, err := k.namespaces.Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if namespace.DeletionTimestamp == nil || !slices.Contains(namespace.Spec.Finalizers, corev1.FinalizerKubernetes) {
		return nil
	}
	state := k.empty(ctx, name)
	if err := k.say(ctx, namespace, state); err != nil {
		return err
	}
	if !state.Done() {
		k.await(ctx, name, state.Found)
		return state.Err()
	}
	return k.finalize(ctx, name)
}

// empty deletes what is in the namespace and says what is left.
func (k *Controller) empty(ctx context.Context, name string) (state State) {
	resources, err := k.deletable()
	state.DiscoveryErr = err
	slices.SortFunc(resources, func(a, b resource) int { return order(a) - order(b) })
	for _, r := range resources {
		if order(r) > 0 && state.PodsLeft() > 0 {
			// Their count matters for the conditions only; they are deleted when the pods are gone.
			continue
		}
		if f := k.clear(ctx, name, r); f.Count > 0 || f.Err != nil {
			state.Found = append(state.Found, f)
		}
	}
	return state
}

// order puts pods first.
func order(r resource) int {
	if r.Group == "" && r.Resource == "pods" {
		return 0
	}
	return 1
}

type resource struct {
	schema.GroupVersionResource
	collection bool // deletecollection is among its verbs
}

// deletable are the resources that namespaces hold, one version of each.
func (k *Controller) deletable() ([]resource, error) {
	lists, err := k.client.Discovery().ServerPreferredNamespacedResources()
	if err != nil && !discovery.IsGroupDiscoveryFailedError(err) {
		return nil, err
	}
	var out []resource
	for _, list := range lists {
		gv, parseErr := schema.ParseGroupVersion(list.GroupVersion)
		if parseErr != nil {
			err = errors.Join(err, parseErr)
			continue
		}
		for _, r := range list.APIResources {
			if slices.Contains(r.Verbs, "delete") && slices.Contains(r.Verbs, "list") {
				group, version := gv.Group, gv.Version
				if r.Group != "" {
					group = r.Group
				}
				if r.Version != "" {
					version = r.Version
				}
				out = append(out, resource{schema.GroupVersionResource{Group: group, Version: version, Resource: r.Name}, slices.Contains(r.Verbs, "deletecollection")})
			}
		}
	}
	return out, err
}

// clear deletes all objects of one resource and counts those that stay.
func (k *Controller) clear(ctx context.Context, namespace string, r resource) Found {
	objects := k.metadata.Resource(r.GroupVersionResource).Namespace(namespace)
	found := Found{Resource: r.GroupVersionResource}
	background := metav1.DeletePropagationBackground
	list, err := objects.List(ctx, metav1.ListOptions{})
	if gone(err) || err == nil && len(list.Items) == 0 {
		return found
	}
	if err == nil && r.collection {
		err = objects.DeleteCollection(ctx, metav1.DeleteOptions{PropagationPolicy: &background}, metav1.ListOptions{})
	}
	if err == nil && !r.collection {
		for i := range list.Items {
			if e := objects.Delete(ctx, list.Items[i].Name, metav1.DeleteOptions{PropagationPolicy: &background}); e != nil && !apierrors.IsNotFound(e) {
				err = errors.Join(err, e)
			}
		}
	}
	if err == nil {
		list, err = objects.List(ctx, metav1.ListOptions{})
	}
	if err != nil {
		if gone(err) {
			return found
		}
		found.Err = fmt.Errorf("delete %s: %w", dotted(r.GroupVersionResource), err)
		return found
	}
	found.Count, found.remains = len(list.Items), remainsOf(list)
	for i := range list.Items {
		for _, f := range list.Items[i].Finalizers {
			if found.Finalizers == nil {
				found.Finalizers = map[string]int{}
			}
			found.Finalizers[f]++
		}
	}
	return found
}

// gone tells whether a resource itself is not there (any more).
func gone(err error) bool { return apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) }

// say writes the conditions where they changed. A namespace that was empty at
// once is not written.
func (k *Controller) say(ctx context.Context, namespace *corev1.Namespace, state State) error {
	if state.Done() && len(namespace.Status.Conditions) == 0 {
		return nil
	}
	conditions, changed := merge(namespace.Status.Conditions, Conditions(state), func() corev1.NamespaceCondition {
		return corev1.NamespaceCondition{LastTransitionTime: metav1.NewTime(k.clock.Now())}
	})
	if !changed {
		return nil
	}
	with := namespace.DeepCopy()
	with.Status.Conditions = conditions
	_, err := k.client.CoreV1().Namespaces().UpdateStatus(ctx, with, metav1.UpdateOptions{})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("write conditions of namespace %s: %w", namespace.Name, err)
	}
	return nil
}

// finalize takes the finalizer off; the API server then removes the namespace.
func (k *Controller) finalize(ctx context.Context, name string) error {
	live, err := k.client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	live.Spec.Finalizers = slices.DeleteFunc(live.Spec.Finalizers, func(f corev1.FinalizerName) bool { return f == corev1.FinalizerKubernetes })
	_, err = k.client.CoreV1().Namespaces().Finalize(ctx, live, metav1.UpdateOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("finalize namespace %s: %w", name, err)
	}
	return nil
}
