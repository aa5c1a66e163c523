package dns

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
)

const byService = "nau-service"

// follow keeps the zone at what the informers see.
func (s *Server) follow() error {
	services := s.config.Informers.Core().V1().Services()
	slices := s.config.Informers.Discovery().V1().EndpointSlices().Informer()
	namespaces := s.config.Informers.Core().V1().Namespaces().Informer()
	if _, ok := slices.GetIndexer().GetIndexers()[byService]; !ok {
		if err := slices.AddIndexers(cache.Indexers{byService: func(obj any) ([]string, error) {
			slice, ok := obj.(*discoveryv1.EndpointSlice)
			if !ok {
				return nil, nil
			}
			return []string{slice.Namespace + "/" + slice.Labels[discoveryv1.LabelServiceName]}, nil
		}}); err != nil {
			return fmt.Errorf("index endpoint slices: %w", err)
		}
	}
	handle := func(informer cache.SharedIndexInformer, changed func(obj any)) error {
		registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    changed,
			UpdateFunc: func(_, obj any) { changed(obj) },
			DeleteFunc: func(obj any) {
				if unknown, ok := obj.(cache.DeletedFinalStateUnknown); ok {
					obj = unknown.Obj
				}
				changed(obj)
			},
		})
		if err == nil {
			s.synced = append(s.synced, registration.HasSynced)
		}
		return err
	}
	refresh := func(namespace, name string) { s.refresh(services.Lister(), slices.GetIndexer(), namespace, name) }
	if err := handle(services.Informer(), func(obj any) {
		if service, ok := obj.(*corev1.Service); ok {
			refresh(service.Namespace, service.Name)
		}
	}); err != nil {
		return err
	}
	if err := handle(slices, func(obj any) {
		slice, ok := obj.(*discoveryv1.EndpointSlice)
		if !ok {
			return
		}
		// Only headless services' names depend on their endpoints.
		if service, err := services.Lister().Services(slice.Namespace).Get(slice.Labels[discoveryv1.LabelServiceName]); err == nil &&
			service.Spec.ClusterIP == corev1.ClusterIPNone {
			refresh(service.Namespace, service.Name)
		}
	}); err != nil {
		return err
	}
	return handle(namespaces, func(obj any) {
		namespace, ok := obj.(*corev1.Namespace)
		if !ok {
			return
		}
		_, exists, err := namespaces.GetStore().GetByKey(namespace.Name)
		s.zone.setNamespace(namespace.Name, exists && err == nil)
	})
}

// refresh works a service's names out anew from what the informers hold now.
func (s *Server) refresh(services corelisters.ServiceLister, slices cache.Indexer, namespace, name string) {
	owner := namespace + "/" + name
	service, err := services.Services(namespace).Get(name)
	if err != nil {
		s.zone.replace(owner, nil)
		return
	}
	objects, err := slices.ByIndex(byService, owner)
	if err != nil {
		s.config.Log.Error("look up endpoint slices", "service", owner, "error", err)
		return
	}
	var endpoints []*discoveryv1.EndpointSlice
	for _, obj := range objects {
		endpoints = append(endpoints, obj.(*discoveryv1.EndpointSlice))
	}
	s.zone.replace(owner, names(s.zone.origin, service, endpoints))
}
