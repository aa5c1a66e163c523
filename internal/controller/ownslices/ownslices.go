// Package ownslices is the endpoint slices that one controller keeps: which there
// are for a service, read as that controller last wrote them, and the writes of a
// plan. Where endpoints go is package slicing's; the controllers that write slices
// share it, and nobody else.
package ownslices

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"nau/internal/controller/loop"
	"nau/internal/controller/owned"
	"nau/internal/controller/slicing"
)

// Slices are the slices whose managed-by label names one controller, by the
// namespace/name that their service-name label gives. What was written and is not
// in the cache yet is remembered, so that a second look does not write it twice.
type Slices struct {
	client    kubernetes.Interface
	managedBy string
	index     string
	cache     cache.Indexer
	written   *owned.Written[*discoveryv1.EndpointSlice]
}

// Follow keeps the slices of a controller in sight and adds the key of each that changes to its loop.
func Follow(client kubernetes.Interface, f informers.SharedInformerFactory, l *loop.Loop[string], managedBy string, c clock.PassiveClock) (*Slices, error) {
	informer := f.Discovery().V1().EndpointSlices().Informer()
	s := &Slices{client: client, managedBy: managedBy, index: managedBy + "/key", cache: informer.GetIndexer(),
		written: owned.NewWritten[*discoveryv1.EndpointSlice](c)}
	if err := informer.AddIndexers(cache.Indexers{s.index: func(obj any) ([]string, error) {
		if slice, ok := obj.(*discoveryv1.EndpointSlice); ok && s.key(slice) != "" {
			return []string{s.key(slice)}, nil
		}
		return nil, nil
	}}); err != nil {
		return nil, fmt.Errorf("index slices of %s: %w", managedBy, err)
	}
	return s, l.On(informer, owned.Changes(func(before, after *discoveryv1.EndpointSlice) {
		for _, slice := range []*discoveryv1.EndpointSlice{before, after} {
			if slice == nil || s.key(slice) == "" {
				continue
			}
			if after == nil {
				s.written.Gone(s.key(slice), slice)
			}
			l.Add(s.key(slice))
		}
	}))
}

// key is what a slice stands for, "" for another controller's.
func (s *Slices) key(slice *discoveryv1.EndpointSlice) string {
	name := slice.Labels[discoveryv1.LabelServiceName]
	if name == "" || slice.Labels[discoveryv1.LabelManagedBy] != s.managedBy {
		return ""
	}
	return slice.Namespace + "/" + name
}

// Of are the slices of a key. They are the cache's own: do not change them.
func (s *Slices) Of(key string) ([]*discoveryv1.EndpointSlice, error) {
	objs, err := s.cache.ByIndex(s.index, key)
	if err != nil {
		return nil, err
	}
	var have []*discoveryv1.EndpointSlice
	for _, o := range objs {
		have = append(have, o.(*discoveryv1.EndpointSlice))
	}
	return s.written.Over(key, have), nil
}

// Forget drops what is remembered of a key.
func (s *Slices) Forget(key string) { s.written.Forget(key) }

// Carry writes a plan for a key. A namespace that is going away is no error: its slices go with it.
func (s *Slices) Carry(ctx context.Context, key string, p slicing.Plan) error {
	namespace, _ := owned.Split(key)
	err := s.carry(ctx, key, namespace, p)
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil
	}
	return err
}

func (s *Slices) carry(ctx context.Context, key, namespace string, p slicing.Plan) error {
	client := s.client.DiscoveryV1().EndpointSlices(namespace)
	for _, slice := range p.Create {
		made, err := client.Create(ctx, slice, metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("create slice: %w", err)
		}
		s.written.Put(key, made)
	}
	for _, slice := range p.Update {
		made, err := client.Update(ctx, slice, metav1.UpdateOptions{})
		if apierrors.IsNotFound(err) {
			s.written.Remove(key, slice)
		}
		if err != nil {
			return fmt.Errorf("update slice %s: %w", slice.Name, err)
		}
		s.written.Put(key, made)
	}
	for _, slice := range p.Remove {
		err := client.Delete(ctx, slice.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(slice.UID))})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return fmt.Errorf("delete slice %s: %w", slice.Name, err)
		}
		s.written.Remove(key, slice)
	}
	return nil
}
