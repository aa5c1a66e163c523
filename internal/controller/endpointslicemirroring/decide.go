package endpointslicemirroring

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nau/internal/controller/slicing"
)

const (
	// ManagedBy is this controller's name on its slices.
	ManagedBy = "endpointslicemirroring-controller.k8s.io"
	// perSubset addresses of a subset are mirrored, no more.
	perSubset = 1000

	triggerTime    = "endpoints.kubernetes.io/last-change-trigger-time"
	leaderElection = "control-plane.alpha.kubernetes.io/leader"
)

var kind = corev1.SchemeGroupVersion.WithKind("Endpoints")

// mirrored tells whether somebody's endpoints stand for a service: the service
// does not select pods, and the object is meant to be mirrored.
func mirrored(service *corev1.Service, endpoints *corev1.Endpoints) bool {
	_, leader := endpoints.Annotations[leaderElection]
	return service != nil && len(service.Spec.Selector) == 0 && service.Spec.Type != corev1.ServiceTypeExternalName &&
		endpoints.Labels[discoveryv1.LabelSkipMirror] != "true" && !leader && endpoints.DeletionTimestamp == nil
}

// decide lays the endpoints' addresses out over slices.
func decide(endpoints *corev1.Endpoints, have []*discoveryv1.EndpointSlice) slicing.Plan {
	var p slicing.Plan
	groups := map[string]*slicing.Group{}
	var order []*slicing.Group
	for i := range endpoints.Subsets {
		subset := &endpoints.Subsets[i]
		ports := portsOf(subset)
		n := 0
		add := func(addresses []corev1.EndpointAddress, ready bool) {
			for j := range addresses {
				family, ok := familyOf(addresses[j].IP)
				if !ok || n == perSubset {
					continue
				}
				n++
				key := slicing.Key(family, ports)
				g := groups[key]
				if g == nil {
					g = &slicing.Group{Family: family, Ports: ports}
					groups[key] = g
					order = append(order, g)
				}
				g.Endpoints = append(g.Endpoints, endpoint(&addresses[j], ready))
			}
		}
		add(subset.Addresses, true)
		add(subset.NotReadyAddresses, false)
	}
	own := slices.DeleteFunc(slices.Clone(have), func(s *discoveryv1.EndpointSlice) bool {
		if metav1.IsControlledBy(s, endpoints) {
			return false
		}
		p.Remove = append(p.Remove, s)
		return true
	})
	p.LayOut(order, own, nil, func(g slicing.Group) *discoveryv1.EndpointSlice { return newSlice(endpoints, g) })
	return p
}

func familyOf(ip string) (discoveryv1.AddressType, bool) {
	a, err := netip.ParseAddr(ip)
	switch {
	case err != nil:
		return "", false
	case a.Is6():
		return discoveryv1.AddressTypeIPv6, true
	}
	return discoveryv1.AddressTypeIPv4, true
}

func portsOf(subset *corev1.EndpointSubset) []discoveryv1.EndpointPort {
	ports := make([]discoveryv1.EndpointPort, len(subset.Ports))
	for i := range subset.Ports {
		p := subset.Ports[i]
		ports[i] = discoveryv1.EndpointPort{Name: &p.Name, Port: &p.Port, Protocol: &p.Protocol, AppProtocol: p.AppProtocol}
	}
	return ports
}

func endpoint(a *corev1.EndpointAddress, ready bool) discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{
		Addresses:  []string{a.IP},
		Conditions: discoveryv1.EndpointConditions{Ready: &ready},
		TargetRef:  a.TargetRef,
		NodeName:   a.NodeName,
	}
	if a.Hostname != "" {
		e.Hostname = &a.Hostname
	}
	return e
}

func newSlice(endpoints *corev1.Endpoints, g slicing.Group) *discoveryv1.EndpointSlice {
	labels := map[string]string{}
	for k, v := range endpoints.Labels {
		labels[k] = v
	}
	labels[discoveryv1.LabelServiceName] = endpoints.Name
	labels[discoveryv1.LabelManagedBy] = ManagedBy
	annotations := map[string]string{}
	for k, v := range endpoints.Annotations {
		if k != corev1.LastAppliedConfigAnnotation && k != triggerTime {
			annotations[k] = v
		}
	}
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       endpoints.Namespace,
			GenerateName:    slicing.GenerateName(endpoints.Name),
			Labels:          labels,
			Annotations:     annotations,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(endpoints, kind)},
		},
		AddressType: g.Family,
		Ports:       g.Ports,
		Endpoints:   g.Endpoints,
	}
}
