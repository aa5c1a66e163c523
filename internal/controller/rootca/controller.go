// Package rootca publishes the cluster's certificate authority to every
// namespace, in the ConfigMap kube-root-ca.crt that pods' tokens come with.
package rootca

import (
	"context"
	"fmt"
	"log/slog"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"

	"nau/internal/controller/loop"
)

// Name is the ConfigMap's, and its annotation says what for.
const (
	Name        = "kube-root-ca.crt"
	description = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. " +
		"No other usage is guaranteed across distributions of Kubernetes clusters."
)

// Config is what the controller needs; the caller starts the factory.
type Config struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	Bundle    []byte // PEM
	Log       *slog.Logger
}

// Controller is the controller; its keys are namespaces.
type Controller struct {
	client     kubernetes.Interface
	namespaces corelisters.NamespaceLister
	maps       corelisters.ConfigMapLister
	want       map[string]string
	loop       *loop.Loop[string]
}

// New makes the controller.
func New(c Config) (*Controller, error) {
	core := c.Informers.Core().V1()
	k := &Controller{
		client: c.Client, namespaces: core.Namespaces().Lister(), maps: core.ConfigMaps().Lister(),
		want: map[string]string{"ca.crt": string(c.Bundle)},
	}
	k.loop = loop.New("root-ca", c.Log, k.sync)
	if err := k.loop.Watch(core.Namespaces().Informer(), func(obj any) []string {
		if namespace, ok := obj.(*corev1.Namespace); ok {
			return []string{namespace.Name}
		}
		return nil
	}); err != nil {
		return nil, err
	}
	return k, k.loop.Watch(core.ConfigMaps().Informer(), func(obj any) []string {
		if m, ok := obj.(*corev1.ConfigMap); ok && m.Name == Name {
			return []string{m.Namespace}
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
	have, err := k.maps.ConfigMaps(name).Get(Name)
	switch {
	case apierrors.IsNotFound(err):
		_, err = k.client.CoreV1().ConfigMaps(name).Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: Name, Namespace: name, Annotations: map[string]string{"kubernetes.io/description": description}},
			Data:       k.want,
		}, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return nil
		}
	case err == nil && !maps.Equal(have.Data, k.want):
		changed := have.DeepCopy()
		changed.Data = k.want
		if changed.Annotations == nil {
			changed.Annotations = map[string]string{}
		}
		changed.Annotations["kubernetes.io/description"] = description
		_, err = k.client.CoreV1().ConfigMaps(name).Update(ctx, changed, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("publish CA to namespace %s: %w", name, err)
	}
	return nil
}
