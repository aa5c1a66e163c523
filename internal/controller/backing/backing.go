// Package backing tells which pods stand behind a service, on which ports, and
// which services an event about a pod concerns. The controllers of endpoints and
// of endpoint slices share it, and nobody else.
package backing

import (
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/informers"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"nau/internal/controller/loop"
	"nau/internal/controller/owned"
)

// Serves tells whether a pod has a place among a service's endpoints: it has an
// address, and it has not ended for good. Pods on their way out count if
// terminating says so.
func Serves(pod *corev1.Pod, terminating bool) bool {
	switch {
	case pod.Status.Phase == corev1.PodFailed, pod.Status.Phase == corev1.PodSucceeded:
		return false
	case pod.Status.PodIP == "" && len(pod.Status.PodIPs) == 0:
		return false
	}
	return terminating || pod.DeletionTimestamp == nil
}

// Ready is the pod's condition of that name.
func Ready(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// Hostname is the name that the pod has below the service's, "" if none.
func Hostname(pod *corev1.Pod, service *corev1.Service) string {
	if pod.Spec.Hostname != "" && pod.Spec.Subdomain == service.Name && pod.Namespace == service.Namespace {
		return pod.Spec.Hostname
	}
	return ""
}

// Port is the number that a service's port has in a pod; false if the pod has no
// port of that name.
func Port(pod *corev1.Pod, port *corev1.ServicePort) (int32, bool) {
	if port.TargetPort.Type == intstr.Int {
		if n := port.TargetPort.IntVal; n != 0 {
			return n, true
		}
		return port.Port, true
	}
	find := func(containers []corev1.Container, wanted func(*corev1.Container) bool) (int32, bool) {
		for i := range containers {
			for _, p := range containers[i].Ports {
				if wanted(&containers[i]) && p.Name == port.TargetPort.StrVal && p.Protocol == port.Protocol {
					return p.ContainerPort, true
				}
			}
		}
		return 0, false
	}
	if n, ok := find(pod.Spec.Containers, func(*corev1.Container) bool { return true }); ok {
		return n, true
	}
	return find(pod.Spec.InitContainers, func(c *corev1.Container) bool { // sidecars
		return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
	})
}

// Selected tells whether a service selects its pods itself.
func Selected(service *corev1.Service) bool {
	return len(service.Spec.Selector) > 0 && service.Spec.Type != corev1.ServiceTypeExternalName
}

// Follower knows services and pods.
type Follower struct {
	Services corelisters.ServiceLister
	pods     corelisters.PodLister
	index    cache.Indexer
}

const bySelector = "selector"

// Follow puts on the loop's queue the key of each service that a change of a
// service or, after a delay that gathers more of them, of a pod concerns. It adds
// an index to the factory's services, if nobody has yet.
func Follow(f informers.SharedInformerFactory, l *loop.Loop[string], delay time.Duration) (*Follower, error) {
	services, pods := f.Core().V1().Services(), f.Core().V1().Pods()
	if _, ok := services.Informer().GetIndexer().GetIndexers()[bySelector]; !ok {
		err := services.Informer().AddIndexers(cache.Indexers{bySelector: func(obj any) ([]string, error) {
			s, ok := obj.(*corev1.Service)
			if !ok || len(s.Spec.Selector) == 0 {
				return nil, nil
			}
			k := slices.Min(slices.Collect(maps.Keys(s.Spec.Selector)))
			return []string{pair(s.Namespace, k, s.Spec.Selector[k])}, nil
		}})
		if err != nil {
			return nil, fmt.Errorf("index services by selector: %w", err)
		}
	}
	w := &Follower{Services: services.Lister(), pods: pods.Lister(), index: services.Informer().GetIndexer()}
	if err := l.On(services.Informer(), owned.Changes(func(before, after *corev1.Service) {
		if after == nil {
			after = before
		}
		l.Add(owned.Key(after))
	})); err != nil {
		return nil, err
	}
	return w, l.On(pods.Informer(), owned.Changes(func(before, after *corev1.Pod) {
		for _, key := range w.concerned(before, after) {
			l.AddAfter(key, delay)
		}
	}))
}

func pair(namespace, key, value string) string { return namespace + "/" + key + "=" + value }

// concerned are the services whose endpoints a pod's change may alter.
func (w *Follower) concerned(before, after *corev1.Pod) []string {
	if before != nil && after != nil {
		if alike(before, after) {
			return nil
		}
		if maps.Equal(before.Labels, after.Labels) {
			before = nil // the same services either way
		}
	}
	var keys []string
	for _, pod := range []*corev1.Pod{before, after} {
		if pod == nil {
			continue
		}
		for k, v := range pod.Labels {
			candidates, err := w.index.ByIndex(bySelector, pair(pod.Namespace, k, v))
			if err != nil {
				continue // the index was made above
			}
			for _, c := range candidates {
				if s := c.(*corev1.Service); matches(s.Spec.Selector, pod.Labels) {
					keys = append(keys, owned.Key(s))
				}
			}
		}
	}
	return keys
}

func matches(selector, labels map[string]string) bool {
	for k, v := range selector {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// alike tells that two states of a pod give the same endpoints.
func alike(a, b *corev1.Pod) bool {
	return a.UID == b.UID && Ready(a) == Ready(b) && Serves(a, true) == Serves(b, true) &&
		(a.DeletionTimestamp == nil) == (b.DeletionTimestamp == nil) &&
		a.Spec.NodeName == b.Spec.NodeName && a.Spec.Hostname == b.Spec.Hostname && a.Spec.Subdomain == b.Spec.Subdomain &&
		a.Status.PodIP == b.Status.PodIP && slices.Equal(a.Status.PodIPs, b.Status.PodIPs) && maps.Equal(a.Labels, b.Labels)
}

// Pods that a service selects.
func (w *Follower) Pods(service *corev1.Service) ([]*corev1.Pod, error) {
	return w.pods.Pods(service.Namespace).List(labels.SelectorFromValidatedSet(service.Spec.Selector))
}
