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

	"nau/internal/controller/everynamespace"
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

// New makes the controller.
func New(c Config) (*everynamespace.Controller, error) {
	maps := c.Informers.Core().V1().ConfigMaps()
	p := &publisher{client: c.Client, maps: maps.Lister(), want: map[string]string{"ca.crt": string(c.Bundle)}}
	return everynamespace.New(everynamespace.Config{
		Controller: "root-ca", Informers: c.Informers, Objects: maps.Informer(), Object: Name, Keep: p.publish, Log: c.Log,
	})
}

type publisher struct {
	client kubernetes.Interface
	maps   corelisters.ConfigMapLister
	want   map[string]string
}

func (p *publisher) publish(ctx context.Context, namespace string) error {
	have, err := p.maps.ConfigMaps(namespace).Get(Name)
	switch {
	case apierrors.IsNotFound(err):
		_, err = p.client.CoreV1().ConfigMaps(namespace).Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: Name, Namespace: namespace, Annotations: map[string]string{"kubernetes.io/description": description}},
			Data:       p.want,
		}, metav1.CreateOptions{})
	case err == nil && !maps.Equal(have.Data, p.want):
		changed := have.DeepCopy()
		changed.Data = p.want
		if changed.Annotations == nil {
			changed.Annotations = map[string]string{}
		}
		changed.Annotations["kubernetes.io/description"] = description
		_, err = p.client.CoreV1().ConfigMaps(namespace).Update(ctx, changed, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("publish CA to namespace %s: %w", namespace, err)
	}
	return nil
}
