// Package endpoints writes the Endpoints object of each service that selects its
// pods: the older form of endpoint slices, kept for clients that read it.
//
// In: services, pods. Out: Endpoints. decide.go makes the object. Only cluster
// wires it.
package endpoints

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"nau/internal/controller/backing"
	"nau/internal/controller/loop"
	"nau/internal/controller/owned"
)

// Config is what the controller needs; the caller starts the factory.
type Config struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	Recorder  record.EventRecorder // nil drops events
	Log       *slog.Logger
}

// Controller is the controller; its keys are services.
type Controller struct {
	cfg       Config
	loop      *loop.Loop[string]
	follower  *backing.Follower
	endpoints corelisters.EndpointsLister
	written   *owned.Written[*corev1.Endpoints]
}

const (
	workers = 4
	// gather is how long changes of pods are collected: the object holds every
	// address, and those who care for speed read slices.
	gather = 100 * time.Millisecond
)

// New makes the controller.
func New(cfg Config) (*Controller, error) {
	if cfg.Recorder == nil {
		cfg.Recorder = &record.FakeRecorder{}
	}
	informer := cfg.Informers.Core().V1().Endpoints()
	c := &Controller{cfg: cfg, endpoints: informer.Lister(), written: owned.NewWritten[*corev1.Endpoints](clock.RealClock{})}
	c.loop = loop.New("endpoints", cfg.Log, c.sync)
	var err error
	if c.follower, err = backing.Follow(cfg.Informers, c.loop, gather); err != nil {
		return nil, err
	}
	return c, c.loop.On(informer.Informer(), owned.Changes(func(before, after *corev1.Endpoints) {
		if after == nil { // somebody has deleted it
			c.loop.Add(owned.Key(before))
		} else if before == nil { // it may be of a service that is gone
			c.loop.Add(owned.Key(after))
		}
	}))
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx, workers) }

func (c *Controller) sync(ctx context.Context, key string) error {
	namespace, name := owned.Split(key)
	client := c.cfg.Client.CoreV1().Endpoints(namespace)
	service, err := c.follower.Services.Services(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		c.written.Forget(key)
		return c.orphaned(ctx, namespace, name)
	}
	if err != nil {
		return err
	}
	if !backing.Selected(service) {
		return nil
	}
	pods, err := c.follower.Pods(service)
	if err != nil {
		return err
	}
	have, err := c.endpoints.Endpoints(namespace).Get(name)
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	if have != nil {
		have = c.written.Newest(key, have)
	}
	want := decide(service, pods, have)
	switch {
	case want == nil:
		return nil
	case have == nil:
		want, err = client.Create(ctx, want, metav1.CreateOptions{})
		if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return nil
		}
	default:
		want, err = client.Update(ctx, want, metav1.UpdateOptions{})
	}
	if err == nil {
		c.written.Put(key, want)
	}
	if err != nil {
		if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) {
			c.cfg.Recorder.Eventf(service, corev1.EventTypeWarning, "FailedToUpdateEndpoint", "Failed to update endpoint %s/%s: %v", namespace, name, err)
		}
		return fmt.Errorf("write endpoints %s: %w", key, err)
	}
	return nil
}

// orphaned removes the object of a service that is gone. One that somebody else
// made, for a service to come, stays.
func (c *Controller) orphaned(ctx context.Context, namespace, name string) error {
	have, err := c.endpoints.Endpoints(namespace).Get(name)
	if err != nil {
		return nil // gone as well
	}
	if have.Labels[managedBy] == "" {
		return nil
	}
	err = c.cfg.Client.CoreV1().Endpoints(namespace).Delete(ctx, name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(have.UID))})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}
