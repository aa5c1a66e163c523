// Package endpointslicemirroring copies Endpoints that somebody keeps by hand, for
// services without a selector, into endpoint slices, which the rest of the cluster
// reads.
//
// In: Endpoints, services, slices. Out: slices. decide.go lays them out. Only
// cluster wires it.
package endpointslicemirroring

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
	"k8s.io/utils/clock"

	"nau/internal/controller/loop"
	"nau/internal/controller/owned"
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
	cfg       Config
	loop      *loop.Loop[string]
	endpoints corelisters.EndpointsLister
	services  corelisters.ServiceLister
	slices    cache.Indexer
	written   *owned.Written[*discoveryv1.EndpointSlice]
}

const (
	workers = 2
	byOwner = "endpointslicemirroring-controller/endpoints"
)

// New makes the controller.
func New(cfg Config) (*Controller, error) {
	core, slices := cfg.Informers.Core().V1(), cfg.Informers.Discovery().V1().EndpointSlices().Informer()
	c := &Controller{
		cfg: cfg, endpoints: core.Endpoints().Lister(), services: core.Services().Lister(), slices: slices.GetIndexer(),
		written: owned.NewWritten[*discoveryv1.EndpointSlice](clock.RealClock{}),
	}
	c.loop = loop.New("endpointslicemirroring", cfg.Log, c.sync)
	if err := slices.AddIndexers(cache.Indexers{byOwner: func(obj any) ([]string, error) {
		if slice, ok := obj.(*discoveryv1.EndpointSlice); ok && ownerOf(slice) != "" {
			return []string{ownerOf(slice)}, nil
		}
		return nil, nil
	}}); err != nil {
		return nil, fmt.Errorf("index slices by endpoints: %w", err)
	}
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
	return c, c.loop.On(slices, owned.Changes(func(before, after *discoveryv1.EndpointSlice) {
		for _, slice := range []*discoveryv1.EndpointSlice{before, after} {
			if slice == nil || ownerOf(slice) == "" {
				continue
			}
			if after == nil {
				c.written.Gone(ownerOf(slice), slice)
			}
			c.loop.Add(ownerOf(slice))
		}
	}))
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx, workers) }

// ownerOf is the key of the Endpoints that a slice of ours mirrors.
func ownerOf(slice *discoveryv1.EndpointSlice) string {
	name := slice.Labels[discoveryv1.LabelServiceName]
	if name == "" || slice.Labels[discoveryv1.LabelManagedBy] != ManagedBy {
		return ""
	}
	return slice.Namespace + "/" + name
}

func (c *Controller) sync(ctx context.Context, key string) error {
	namespace, name := owned.Split(key)
	objs, err := c.slices.ByIndex(byOwner, key)
	if err != nil {
		return err
	}
	var have []*discoveryv1.EndpointSlice
	for _, o := range objs {
		have = append(have, o.(*discoveryv1.EndpointSlice))
	}
	have = c.written.Over(key, have)
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
	err = c.act(ctx, key, namespace, p)
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil
	}
	return err
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
		if err != nil {
			if apierrors.IsNotFound(err) {
				c.written.Remove(key, slice)
			}
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
