// Package endpointslice writes down, in slices of at most a hundred, which pods
// stand behind each service that selects its pods.
//
// In: services, pods, slices, nodes (for their zones). Out: slices. decide.go lays
// them out. Only cluster wires it.
package endpointslice

import (
	"context"
	"log/slog"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"nau/internal/controller/backing"
	"nau/internal/controller/loop"
	"nau/internal/controller/owned"
	"nau/internal/controller/ownslices"
)

// Config is what the controller needs; the caller starts the factory.
type Config struct {
	Client    kubernetes.Interface
	Informers informers.SharedInformerFactory
	Recorder  record.EventRecorder // nil drops events
	Clock     clock.Clock          // nil is the wall clock
	Log       *slog.Logger
}

// Controller is the controller; its keys are services.
type Controller struct {
	cfg      Config
	loop     *loop.Loop[string]
	follower *backing.Follower
	nodes    corelisters.NodeLister
	slices   *ownslices.Slices
}

const workers = 4

// New makes the controller.
func New(cfg Config) (*Controller, error) {
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	if cfg.Recorder == nil {
		cfg.Recorder = &record.FakeRecorder{}
	}
	nodes := cfg.Informers.Core().V1().Nodes()
	c := &Controller{cfg: cfg, nodes: nodes.Lister()}
	c.loop = loop.New("endpointslice", cfg.Log, c.sync)
	c.loop.Needs(nodes.Informer())
	var err error
	if c.follower, err = backing.Follow(cfg.Informers, c.loop, 0); err != nil {
		return nil, err
	}
	c.slices, err = ownslices.Follow(cfg.Client, cfg.Informers, c.loop, ManagedBy, cfg.Clock)
	return c, err
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx, workers) }

func (c *Controller) sync(ctx context.Context, key string) error {
	namespace, name := owned.Split(key)
	service, err := c.follower.Services.Services(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		c.slices.Forget(key)
		return nil // the slices follow their owner
	}
	if err != nil {
		return err
	}
	if !backing.Selected(service) || service.DeletionTimestamp != nil {
		return nil
	}
	s := state{service: service, zone: c.zone}
	if s.pods, err = c.follower.Pods(service); err != nil {
		return err
	}
	if s.slices, err = c.slices.Of(key); err != nil {
		return err
	}
	err = c.slices.Carry(ctx, key, decide(s))
	if err != nil && !apierrors.IsConflict(err) {
		c.cfg.Recorder.Eventf(service, corev1.EventTypeWarning, "FailedToUpdateEndpointSlices", "Error updating Endpoint Slices for Service %s/%s: %v", namespace, name, err)
	}
	return err
}

func (c *Controller) zone(node string) string {
	n, err := c.nodes.Get(node)
	if err != nil {
		return ""
	}
	return n.Labels[corev1.LabelTopologyZone]
}
