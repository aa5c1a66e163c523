package replicaset

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"

	"nau/internal/controller/loop"
)

// Kind is what differs between replica sets and replication controllers, which
// this controller sees as replica sets.
type Kind struct {
	Name string // of the controller
	GVK  schema.GroupVersionKind
	// Get reads the cache, Live the API server.
	Get  func(namespace, name string) (*appsv1.ReplicaSet, error)
	Live func(ctx context.Context, namespace, name string) (*appsv1.ReplicaSet, error)
	// List reads a namespace from the cache.
	List func(namespace string) ([]*appsv1.ReplicaSet, error)
	// UpdateStatus writes set.Status and returns what became of the set.
	UpdateStatus func(ctx context.Context, set *appsv1.ReplicaSet) (*appsv1.ReplicaSet, error)
	// Terminating: the status has a place for the pods on their way out.
	Terminating bool
	// Informer of the kind; Handler turns its events into calls of f.
	Informer cache.SharedIndexInformer
	Handler  func(f func(before, after metav1.Object)) cache.ResourceEventHandler
}

// sets is the kind ReplicaSet.
func sets(cfg Config) Kind {
	informer := cfg.Informers.Apps().V1().ReplicaSets()
	lister := informer.Lister()
	return Kind{
		Name:        "replicaset",
		GVK:         appsv1.SchemeGroupVersion.WithKind("ReplicaSet"),
		Terminating: true,
		Informer:    informer.Informer(),
		Get: func(namespace, name string) (*appsv1.ReplicaSet, error) {
			return lister.ReplicaSets(namespace).Get(name)
		},
		Live: func(ctx context.Context, namespace, name string) (*appsv1.ReplicaSet, error) {
			return cfg.Client.AppsV1().ReplicaSets(namespace).Get(ctx, name, metav1.GetOptions{})
		},
		List: func(namespace string) ([]*appsv1.ReplicaSet, error) {
			return lister.ReplicaSets(namespace).List(labels.Everything())
		},
		UpdateStatus: func(ctx context.Context, set *appsv1.ReplicaSet) (*appsv1.ReplicaSet, error) {
			return cfg.Client.AppsV1().ReplicaSets(set.Namespace).UpdateStatus(ctx, set, metav1.UpdateOptions{})
		},
		Handler: Handler[*appsv1.ReplicaSet],
	}
}

// Handler makes [Kind.Handler] for a type of object.
func Handler[T metav1.Object](f func(before, after metav1.Object)) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { f(nil, obj.(T)) },
		UpdateFunc: func(old, new any) { f(old.(T), new.(T)) },
		DeleteFunc: func(obj any) {
			if t, ok := loop.Last(obj).(T); ok {
				f(t, nil)
			}
		},
	}
}

// newPod makes the pod that the template describes.
func newPod(set *appsv1.ReplicaSet, kind schema.GroupVersionKind) *corev1.Pod {
	t := set.Spec.Template.DeepCopy()
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       set.Namespace,
			GenerateName:    set.Name + "-",
			Labels:          t.Labels,
			Annotations:     t.Annotations,
			Finalizers:      t.Finalizers,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(set, kind)},
		},
		Spec: t.Spec,
	}
}
