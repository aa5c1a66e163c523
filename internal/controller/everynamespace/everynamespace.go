// Package everynamespace is the frame of the controllers that keep one object of a
// fixed name in every namespace that is not going away. What the object holds is
// theirs; nobody else imports it.
package everynamespace

import (
	"context"
	"log/slog"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"nau/internal/controller/loop"
)

// Config says what is kept; the caller starts the factory.
type Config struct {
	Controller string // its name in logs and metrics
	Informers  informers.SharedInformerFactory
	Objects    cache.SharedIndexInformer // of the kind that is kept
	Object     string                    // the name in each namespace
	// Keep makes the namespace's object what it should be. That it is there already, or that the namespace goes away meanwhile, is no error.
	Keep func(ctx context.Context, namespace string) error
	Log  *slog.Logger
}

// Controller is the controller; its keys are namespaces.
type Controller struct {
	keep       func(ctx context.Context, namespace string) error
	namespaces corelisters.NamespaceLister
	loop       *loop.Loop[string]
}

// New makes the controller. It looks at a namespace when that changes, and when its object does.
func New(c Config) (*Controller, error) {
	namespaces := c.Informers.Core().V1().Namespaces()
	k := &Controller{keep: c.Keep, namespaces: namespaces.Lister()}
	k.loop = loop.New(c.Controller, c.Log, k.sync)
	if err := k.loop.Watch(namespaces.Informer(), func(obj any) []string {
		if namespace, ok := obj.(*corev1.Namespace); ok {
			return []string{namespace.Name}
		}
		return nil
	}); err != nil {
		return nil, err
	}
	return k, k.loop.Watch(c.Objects, func(obj any) []string {
		if o, ok := obj.(metav1.Object); ok && o.GetName() == c.Object {
			return []string{o.GetNamespace()}
		}
		return nil
	})
}

// Run works until ctx ends.
func (k *Controller) Run(ctx context.Context) error { return k.loop.Run(ctx, 1) }

func (k *Controller) sync(ctx context.Context, name string) error {
	namespace, err := k.namespaces.Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if namespace.Status.Phase == corev1.NamespaceTerminating || namespace.DeletionTimestamp != nil {
		return nil
	}
	err = k.keep(ctx, name)
	if apierrors.IsAlreadyExists(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil
	}
	return err
}
