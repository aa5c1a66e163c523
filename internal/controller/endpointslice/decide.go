package endpointslice

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sort"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nau/internal/controller/backing"
)

const (
	// ManagedBy is this controller's name on its slices.
	ManagedBy = "endpointslice-controller.k8s.io"
	// perSlice endpoints at most, so that one pod's change stays a small object.
	perSlice = 100
)

var kind = corev1.SchemeGroupVersion.WithKind("Service")

// state is what the decision rests on.
type state struct {
	service *corev1.Service
	pods    []*corev1.Pod // that the service selects
	slices  []*discoveryv1.EndpointSlice
	// zone of a node, "" if it has none.
	zone func(node string) string
}

// plan is what to do with the service's slices.
type plan struct {
	create []*discoveryv1.EndpointSlice
	update []*discoveryv1.EndpointSlice
	remove []*discoveryv1.EndpointSlice
}

// group is the endpoints of one address family that have the same ports.
type group struct {
	family    discoveryv1.AddressType
	ports     []discoveryv1.EndpointPort
	endpoints []discoveryv1.Endpoint
}

// decide lays the service's endpoints out over slices, changing as few slices as
// it can.
func decide(s state) plan {
	var p plan
	families := familiesOf(s.service)
	groups := map[string]*group{}
	for _, family := range families {
		for _, pod := range s.pods {
			e, ok := endpoint(s, pod, family)
			if !ok {
				continue
			}
			ports := portsOf(s.service, pod)
			key := groupKey(family, ports)
			g := groups[key]
			if g == nil {
				g = &group{family: family, ports: ports}
				groups[key] = g
			}
			g.endpoints = append(g.endpoints, e)
		}
	}
	existing := map[string][]*discoveryv1.EndpointSlice{}
	for _, slice := range s.slices {
		if !slices.Contains(families, slice.AddressType) || !metav1.IsControlledBy(slice, s.service) {
			p.remove = append(p.remove, slice)
			continue
		}
		key := groupKey(slice.AddressType, slice.Ports)
		existing[key] = append(existing[key], slice)
	}
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		p.layOut(s.service, groups[key], existing[key])
		delete(existing, key)
	}
	// What is left has no endpoints. Each family keeps one slice, empty if need be.
	for _, family := range families {
		has := slices.ContainsFunc(slices.Collect(maps.Values(groups)), func(g *group) bool { return g.family == family })
		for _, key := range slices.Sorted(maps.Keys(existing)) {
			for _, slice := range existing[key] {
				if slice.AddressType != family {
					continue
				}
				if has {
					p.remove = append(p.remove, slice)
					continue
				}
				has = true
				p.put(s.service, slice, nil, nil)
			}
		}
		if !has {
			p.create = append(p.create, newSlice(s.service, family, nil, nil))
		}
	}
	return p
}

// layOut keeps endpoints where they are, fills gaps, then makes new slices, and
// removes what has become empty.
func (p *plan) layOut(service *corev1.Service, g *group, have []*discoveryv1.EndpointSlice) {
	want := map[string]discoveryv1.Endpoint{}
	var order []string
	for _, e := range g.endpoints {
		id := identity(&e)
		if _, ok := want[id]; !ok {
			order = append(order, id)
		}
		want[id] = e
	}
	slices.SortFunc(have, func(a, b *discoveryv1.EndpointSlice) int { return cmp.Compare(a.Name, b.Name) })
	kept := make([][]discoveryv1.Endpoint, len(have))
	for i, slice := range have {
		for j := range slice.Endpoints {
			id := identity(&slice.Endpoints[j])
			if e, ok := want[id]; ok && len(kept[i]) < perSlice {
				kept[i] = append(kept[i], e)
				delete(want, id)
			}
		}
	}
	var rest []discoveryv1.Endpoint
	for _, id := range order {
		if e, ok := want[id]; ok {
			rest = append(rest, e)
		}
	}
	take := func(n int) []discoveryv1.Endpoint {
		n = min(n, len(rest))
		taken := rest[:n]
		rest = rest[n:]
		return taken
	}
	// Slices that change anyway are filled first, the fullest that fits next.
	byRoom := make([]int, len(have))
	for i := range byRoom {
		byRoom[i] = i
	}
	sort.SliceStable(byRoom, func(a, b int) bool {
		x, y := byRoom[a], byRoom[b]
		cx, cy := len(kept[x]) != len(have[x].Endpoints), len(kept[y]) != len(have[y].Endpoints)
		if cx != cy {
			return cx
		}
		return len(kept[x]) > len(kept[y])
	})
	for _, i := range byRoom {
		kept[i] = append(kept[i], take(perSlice-len(kept[i]))...)
	}
	for i, slice := range have {
		if len(kept[i]) == 0 {
			p.remove = append(p.remove, slice)
		} else {
			p.put(service, slice, g.ports, kept[i])
		}
	}
	for len(rest) > 0 {
		p.create = append(p.create, newSlice(service, g.family, g.ports, take(perSlice)))
	}
}

// put plans an update of a slice if it is not as it should be.
func (p *plan) put(service *corev1.Service, slice *discoveryv1.EndpointSlice, ports []discoveryv1.EndpointPort, endpoints []discoveryv1.Endpoint) {
	want := newSlice(service, slice.AddressType, ports, endpoints)
	if equality.Semantic.DeepEqual(slice.Endpoints, want.Endpoints) && equality.Semantic.DeepEqual(slice.Ports, want.Ports) &&
		maps.Equal(slice.Labels, want.Labels) {
		return
	}
	changed := slice.DeepCopy()
	changed.Labels, changed.Endpoints, changed.Ports = want.Labels, want.Endpoints, want.Ports
	p.update = append(p.update, changed)
}

func newSlice(service *corev1.Service, family discoveryv1.AddressType, ports []discoveryv1.EndpointPort, endpoints []discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       service.Namespace,
			GenerateName:    generateName(service.Name),
			Labels:          labelsOf(service),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(service, kind)},
		},
		AddressType: family,
		Ports:       ports,
		Endpoints:   endpoints,
	}
}

// generateName leaves room for the suffix in a name of 63 characters at most.
func generateName(service string) string {
	const longest = 57
	if len(service) > longest {
		service = strings.TrimRight(service[:longest], "-.")
	}
	return service + "-"
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

func groupKey(family discoveryv1.AddressType, ports []discoveryv1.EndpointPort) string {
	parts := make([]string, len(ports))
	for i, p := range ports {
		parts[i] = fmt.Sprintf("%s/%s/%d/%s", deref(p.Name), deref(p.Protocol), deref(p.Port), deref(p.AppProtocol))
	}
	slices.Sort(parts)
	return string(family) + " " + strings.Join(parts, " ")
}

func deref[T any](p *T) (zero T) {
	if p == nil {
		return zero
	}
	return *p
}

// identity of an endpoint that stays itself while its conditions change.
func identity(e *discoveryv1.Endpoint) string {
	id := strings.Join(e.Addresses, ",")
	if e.TargetRef != nil {
		id += " " + string(e.TargetRef.UID)
	}
	return id
}
