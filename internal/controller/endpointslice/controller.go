// Package endpointslice writes down, in slices of at most a hundred, which pods
// stand behind each service that selects its pods.
//
// In: services, pods, slices, nodes (for their zones). Out: slices. decide.go lays
// them out. What was written and is not in the cache yet is remembered, so that
// a second look does not write it twice. Only cluster wires it.
package endpointslice

import (
	"context"
	"fmt"
	"log/slog"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"nau/internal/controller/backing"
	"nau/internal/controller/loop"
	"nau/internal/controller/owned"
	"nau/internal/controller/slicing"
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
	slices   cache.Indexer
	written  *owned.Written[*discoveryv1.EndpointSlice]
}

const (
	workers   = 4
	byService = "endpointslice-controller/service"
)

// New makes the controller.
func New(cfg Config) (*Controller, error) {
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	if cfg.Recorder == nil {
		cfg.Recorder = &record.FakeRecorder{}
	}
	nodes, informer := cfg.Informers.Core().V1().Nodes(), cfg.Informers.Discovery().V1().EndpointSlices().Informer()
	c := &Controller{cfg: cfg, nodes: nodes.Lister(), slices: informer.GetIndexer(), written: owned.NewWritten[*discoveryv1.EndpointSlice](cfg.Clock)}
	c.loop = loop.New("endpointslice", cfg.Log, c.sync)
	if err := informer.AddIndexers(cache.Indexers{byService: func(obj any) ([]string, error) {
		if slice, ok := obj.(*discoveryv1.EndpointSlice); ok && serviceOf(slice) != "" {
			return []string{serviceOf(slice)}, nil
		}
		return nil, nil
	}}); err != nil {
		return nil, fmt.Errorf("index slices by service: %w", err)
	}
	var err error
	if c.follower, err = backing.Follow(cfg.Informers, c.loop, 0); err != nil {
		return nil, err
	}
	c.loop.Needs(nodes.Informer())
	return c, c.loop.On(informer, owned.Changes(c.sliceChanged))
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx, workers) }

// serviceOf is the key of the service that a slice of ours belongs to.
func serviceOf(slice *discoveryv1.EndpointSlice) string {
	name := slice.Labels[discoveryv1.LabelServiceName]
	if name == "" || slice.Labels[discoveryv1.LabelManagedBy] != ManagedBy {
		return ""
	}
	return slice.Namespace + "/" + name
}

func (c *Controller) sliceChanged(before, after *discoveryv1.EndpointSlice) {
	for _, slice := range []*discoveryv1.EndpointSlice{before, after} {
		if slice == nil || serviceOf(slice) == "" {
			continue
		}
		if after == nil {
			c.written.Gone(serviceOf(slice), slice)
		}
		c.loop.Add(serviceOf(slice))
	}
}

func (c *Controller) sync(ctx context.Context, key string) error {
	namespace, name := owned.Split(key)
	service, err := c.follower.Services.Services(namespace).Get(name)
	if apierrors.IsNotFound(err) {
		c.written.Forget(key)
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
	objs, err := c.slices.ByIndex(byService, key)
	if err != nil {
		return err
	}
	for _, o := range objs {
		s.slices = append(s.slices, o.(*discoveryv1.EndpointSlice))
	}
	s.slices = c.written.Over(key, s.slices)
	err = c.act(ctx, key, namespace, decide(s))
	if err != nil && !apierrors.IsConflict(err) && !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		c.cfg.Recorder.Eventf(service, corev1.EventTypeWarning, "FailedToUpdateEndpointSlices", "Error updating Endpoint Slices for Service %s/%s: %v", namespace, name, err)
	}
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil
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

func (c *Controller) act(ctx context.Context, key, namespace string, p slicing.Plan) error {
	client := c.cfg.Client.DiscoveryV1().EndpointSlices(namespace)
	for _, slice := range p.Create {
		made, err := client.Create(ctx, slice, metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("create slice: %w", err)
		}
		c.written.Put(key, made)
	}
	for _, slice := range p.Update {
		made, err := client.Update(ctx, slice, metav1.UpdateOptions{})
		if apierrors.IsNotFound(err) {
			c.written.Remove(key, slice)
			return fmt.Errorf("update slice %s: %w", slice.Name, err)
		}
		if err != nil {
			return fmt.Errorf("update slice %s: %w", slice.Name, err)
		}
		c.written.Put(key, made)
	}
	for _, slice := range p.Remove {
		err := client.Delete(ctx, slice.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(slice.UID))})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return fmt.Errorf("delete slice %s: %w", slice.Name, err)
		}
		c.written.Remove(key, slice)
	}
	return nil
}
