// Package serviceaccount keeps the service account "default" in every namespace
// that is not going away.
package serviceaccount

import (
	"context"
	"fmt"
	"log/slog"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"

	"nau/internal/controller/everynamespace"
)

// Name is the service account that pods use that name none.
const Name = "default"

// Config is what the controller needs; the caller starts the factory.
type Config struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	Log       *slog.Logger
}

// New makes the controller.
func New(c Config) (*everynamespace.Controller, error) {
	accounts := c.Informers.Core().V1().ServiceAccounts()
	lister := accounts.Lister()
	return everynamespace.New(everynamespace.Config{
		Controller: "serviceaccount", Informers: c.Informers, Objects: accounts.Informer(), Object: Name, Log: c.Log,
		Keep: func(ctx context.Context, namespace string) error {
			if _, err := lister.ServiceAccounts(namespace).Get(Name); err == nil {
				return nil
			}
			account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: Name, Namespace: namespace}}
			if _, err := c.Client.CoreV1().ServiceAccounts(namespace).Create(ctx, account, metav1.CreateOptions{}); err != nil {
				return fmt.Errorf("create service account %s/%s: %w", namespace, Name, err)
			}
			return nil
		},
	})
}
