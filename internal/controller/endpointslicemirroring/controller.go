// Package endpointslicemirroring copies Endpoints that somebody keeps by hand, for
// services without a selector, into endpoint slices, which the rest of the cluster
// reads.
//
// In: Endpoints, services, slices. Out: slices. decide.go lays them out. Only
// cluster wires it.
package endpointslicemirroring

import (
	"context"
	"log/slog"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/utils/clock"

	"nau/internal/controller/loop"
	"nau/internal/controller/owned"
	"nau/internal/controller/ownslices"
	"nau/internal/controller/slicing"
)

// Config is what the controller needs; the caller starts the factory.
type Config struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	Log       *slog.Logger
}

// Controller is the controller; its keys are those of Endpoints.
type Controller struct {
	loop      *loop.Loop[string]
	endpoints corelisters.EndpointsLister
	services  corelisters.ServiceLister
	slices    *ownslices.Slices
}

const workers = 2

// New makes the controller.
func New(cfg Config) (*Controller, error) {
	core := cfg.Informers.Core().V1()
	c := &Controller{endpoints: core.Endpoints().Lister(), services: core.Services().Lister()}
	c.loop = loop.New("endpointslicemirroring", cfg.Log, c.sync)
	if err := c.loop.On(core.Endpoints().Informer(), owned.Changes(func(before, after *corev1.Endpoints) {
		if after == nil {
			after = before
		}
		c.loop.Add(owned.Key(after))
	})); err != nil {
		return nil, err
	}
	if err := c.loop.On(core.Services().Informer(), owned.Changes(func(before, after *corev1.Service) {
		if before != nil && after != nil && (len(before.Spec.Selector) == 0) == (len(after.Spec.Selector) == 0) {
			return
		}
		if after == nil {
			after = before
		}
		c.loop.Add(owned.Key(after))
	})); err != nil {
		return nil, err
	}
	var err error
	c.slices, err = ownslices.Follow(cfg.Client, cfg.Informers, c.loop, ManagedBy, clock.RealClock{})
	return c, err
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx, workers) }

func (c *Controller) sync(ctx context.Context, key string) error {
	namespace, name := owned.Split(key)
	have, err := c.slices.Of(key)
	if err != nil {
		return err
	}
	endpoints, err := c.endpoints.Endpoints(namespace).Get(name)
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	service, err := c.services.Services(namespace).Get(name)
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	p := slicing.Plan{Remove: have}
	if endpoints != nil && mirrored(service, endpoints) {
		p = decide(endpoints, have)
	}
	return c.slices.Carry(ctx, key, p)
}
