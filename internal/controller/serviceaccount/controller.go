// Package serviceaccount keeps the service account "default" in every namespace
// that is not going away.
package serviceaccount

import (
	"context"
	"fmt"
	"log/slog"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"

	"nau/internal/controller/loop"
)

// Name is the service account that pods use that name none.
const Name = "default"

// Config is what the controller needs; the caller starts the factory.
type Config struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	Log       *slog.Logger
}

// Controller is the controller; its keys are namespaces.
type Controller struct {
	client     kubernetes.Interface
	namespaces corelisters.NamespaceLister
	accounts   corelisters.ServiceAccountLister
	loop       *loop.Loop[string]
}

// New makes the controller.
func New(c Config) (*Controller, error) {
	core := c.Informers.Core().V1()
	k := &Controller{client: c.Client, namespaces: core.Namespaces().Lister(), accounts: core.ServiceAccounts().Lister()}
	k.loop = loop.New("serviceaccount", c.Log, k.sync)
	if err := k.loop.Watch(core.Namespaces().Informer(), func(obj any) []string {
		if namespace, ok := obj.(*corev1.Namespace); ok {
			return []string{namespace.Name}
		}
		return nil
	}); err != nil {
		return nil, err
	}
	return k, k.loop.Watch(core.ServiceAccounts().Informer(), func(obj any) []string {
		if account, ok := obj.(*corev1.ServiceAccount); ok && account.Name == Name {
			return []string{account.Namespace}
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
	if _, err := k.accounts.ServiceAccounts(name).Get(Name); err == nil {
		return nil
	}
	_, err = k.client.CoreV1().ServiceAccounts(name).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: Name, Namespace: name}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) && !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return fmt.Errorf("create service account %s/%s: %w", name, Name, err)
	}
	return nil
}
