package endpointslice

import (
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nau/internal/controller/backing"
	"nau/internal/controller/slicing"
)

// ManagedBy is this controller's name on its slices.
const ManagedBy = "endpointslice-controller.k8s.io"

var kind = corev1.SchemeGroupVersion.WithKind("Service")

// state is what the decision rests on.
type state struct {
	service *corev1.Service
	pods    []*corev1.Pod // that the service selects
	slices  []*discoveryv1.EndpointSlice
	// zone of a node, "" if it has none.
	zone func(node string) string
}

// decide lays the service's endpoints out over slices, changing as few slices as
// it can.
func decide(s state) slicing.Plan {
	var p slicing.Plan
	families := familiesOf(s.service)
	groups := map[string]*slicing.Group{}
	for _, family := range families {
		for _, pod := range s.pods {
			e, ok := endpoint(s, pod, family)
			if !ok {
				continue
			}
			ports := portsOf(s.service, pod)
			key := slicing.Key(family, ports)
			g := groups[key]
			if g == nil {
				g = &slicing.Group{Family: family, Ports: ports}
				groups[key] = g
			}
			g.Endpoints = append(g.Endpoints, e)
		}
	}
	fit := slices.DeleteFunc(slices.Clone(s.slices), func(slice *discoveryv1.EndpointSlice) bool {
		if slices.Contains(families, slice.AddressType) && metav1.IsControlledBy(slice, s.service) {
			return false
		}
		p.Remove = append(p.Remove, slice)
		return true
	})
	p.LayOut(slices.Collect(maps.Values(groups)), fit, families, func(g slicing.Group) *discoveryv1.EndpointSlice {
		return newSlice(s.service, g)
	})
	return p
}

func newSlice(service *corev1.Service, g slicing.Group) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       service.Namespace,
			GenerateName:    slicing.GenerateName(service.Name),
			Labels:          labelsOf(service),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(service, kind)},
		},
		AddressType: g.Family,
		Ports:       g.Ports,
		Endpoints:   g.Endpoints,
	}
}

// labelsOf are the service's own, and those by which slices are found.
func labelsOf(service *corev1.Service) map[string]string {
	labels := map[string]string{}
	for k, v := range service.Labels {
		if k != discoveryv1.LabelServiceName && k != discoveryv1.LabelManagedBy && k != corev1.IsHeadlessService {
			labels[k] = v
		}
	}
	labels[discoveryv1.LabelServiceName] = service.Name
	labels[discoveryv1.LabelManagedBy] = ManagedBy
	if service.Spec.ClusterIP == corev1.ClusterIPNone {
		labels[corev1.IsHeadlessService] = ""
	}
	return labels
}

func familiesOf(service *corev1.Service) []discoveryv1.AddressType {
	var families []discoveryv1.AddressType
	for _, f := range service.Spec.IPFamilies {
		if f == corev1.IPv6Protocol {
			families = append(families, discoveryv1.AddressTypeIPv6)
		} else {
			families = append(families, discoveryv1.AddressTypeIPv4)
		}
	}
	if len(families) == 0 { // of before families were written down
		if ip, err := netip.ParseAddr(service.Spec.ClusterIP); err == nil && ip.Is6() {
			return []discoveryv1.AddressType{discoveryv1.AddressTypeIPv6}
		}
		return []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4}
	}
	return families
}

// endpoint is a pod as one; false if it has no place or no address of the family.
func endpoint(s state, pod *corev1.Pod, family discoveryv1.AddressType) (discoveryv1.Endpoint, bool) {
	if !backing.Serves(pod, true) {
		return discoveryv1.Endpoint{}, false
	}
	var addresses []string
	ips := pod.Status.PodIPs
	if len(ips) == 0 {
		ips = []corev1.PodIP{{IP: pod.Status.PodIP}}
	}
	for _, ip := range ips {
		if a, err := netip.ParseAddr(ip.IP); err == nil && a.Is6() == (family == discoveryv1.AddressTypeIPv6) {
			addresses = append(addresses, ip.IP)
			break // the first of a family is the pod's
		}
	}
	if len(addresses) == 0 {
		return discoveryv1.Endpoint{}, false
	}
	serving, terminating := backing.Ready(pod), pod.DeletionTimestamp != nil
	ready := s.service.Spec.PublishNotReadyAddresses || serving && !terminating
	e := discoveryv1.Endpoint{
		Addresses:  addresses,
		Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating},
		TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
	}
	if node := pod.Spec.NodeName; node != "" {
		e.NodeName = &node
		if zone := s.zone(node); zone != "" {
			e.Zone = &zone
		}
	}
	if h := backing.Hostname(pod, s.service); h != "" {
		e.Hostname = &h
	}
	return e, true
}

// portsOf are the service's ports as this pod has them; a port that it lacks is
// left out.
func portsOf(service *corev1.Service, pod *corev1.Pod) []discoveryv1.EndpointPort {
	ports := []discoveryv1.EndpointPort{}
	for i := range service.Spec.Ports {
		sp := &service.Spec.Ports[i]
		n, ok := backing.Port(pod, sp)
		if !ok {
			continue
		}
		name, protocol := sp.Name, sp.Protocol
		ports = append(ports, discoveryv1.EndpointPort{Name: &name, Protocol: &protocol, Port: &n, AppProtocol: sp.AppProtocol})
	}
	return ports
}
