package proxy

import (
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// Node is what the decision depends on beside the objects.
type Node struct {
	Name string
	Zone string // topology.kubernetes.io/zone
}

// endpoint is one address of a slice that counts.
type endpoint struct {
	at           netip.AddrPort
	local        bool
	ready        bool // else serving while it terminates
	zones, nodes []string
	hintedZone   bool
	hintedNode   bool
}

// Skipped tells whether a Service is none of ours: headless, without an address, by name only, or another proxy's.
func Skipped(s *corev1.Service) bool {
	_, foreign := s.Labels["service.kubernetes.io/service-proxy-name"]
	return foreign || s.Spec.Type == corev1.ServiceTypeExternalName || s.Spec.ClusterIP == corev1.ClusterIPNone || s.Spec.ClusterIP == ""
}

// Decide is the Ports of a Service, given its slices. Nothing in the result is shared with the arguments. Order is that of the
// Service's ports, IPv4 first as the Service has it.
func Decide(n Node, s *corev1.Service, slices []*discoveryv1.EndpointSlice) []*Port {
	if s == nil || Skipped(s) {
		return nil
	}
	var out []*Port
	for _, text := range clusterIPs(s) {
		ip, err := netip.ParseAddr(text)
		if err != nil {
			continue
		}
		for i := range s.Spec.Ports {
			out = append(out, decidePort(n, s, &s.Spec.Ports[i], ip.Unmap(), slices))
		}
	}
	return out
}

func clusterIPs(s *corev1.Service) []string {
	if len(s.Spec.ClusterIPs) > 0 {
		return s.Spec.ClusterIPs
	}
	return []string{s.Spec.ClusterIP}
}

func decidePort(n Node, s *corev1.Service, sp *corev1.ServicePort, ip netip.Addr, all []*discoveryv1.EndpointSlice) *Port {
	v6 := ip.Is6()
	p := &Port{
		Key:       Key{Namespace: s.Namespace, Service: s.Name, Port: sp.Name, Protocol: protocol(sp.Protocol), V6: v6},
		ClusterIP: ip, Number: uint16(sp.Port), NodePort: uint16(sp.NodePort),
		External:      addresses(s.Spec.ExternalIPs, v6),
		ExternalLocal: s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal,
	}
	if s.Spec.SessionAffinity == corev1.ServiceAffinityClientIP {
		p.Affinity = affinity(s.Spec.SessionAffinityConfig)
	}
	balance(p, s)

	eps := endpointsOf(n, sp, v6, all)
	for _, e := range eps {
		if e.local {
			p.OnNode = append(p.OnNode, e.at.Addr())
		}
	}
	p.OnNode = unique(p.OnNode)
	near := closest(n, eps)
	p.Cluster = usable(near)
	p.Internal = p.Cluster
	local := slices.DeleteFunc(slices.Clone(eps), func(e endpoint) bool { return !e.local })
	if s.Spec.InternalTrafficPolicy != nil && *s.Spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal {
		p.Internal = usable(local)
		p.InternalDrop = len(p.Internal) == 0 && len(p.Cluster) > 0
	}
	if p.ExternalLocal {
		p.Local = usable(local)
	}
	return p
}

// balance takes in a load balancer's addresses. In mode Proxy the balancer itself delivers, and the node leaves the address alone.
func balance(p *Port, s *corev1.Service) {
	var vips []string
	for _, in := range s.Status.LoadBalancer.Ingress {
		if in.IP != "" && (in.IPMode == nil || *in.IPMode == corev1.LoadBalancerIPModeVIP) {
			vips = append(vips, in.IP)
		}
	}
	for _, text := range s.Spec.LoadBalancerSourceRanges {
		if r, err := netip.ParsePrefix(text); err == nil && r.Addr().Is6() == p.V6 {
			p.Sources = append(p.Sources, r.Masked())
		}
	}
	if len(s.Spec.LoadBalancerSourceRanges) == 0 {
		p.External = unique(append(p.External, addresses(vips, p.V6)...))
		return
	}
	p.Balanced = addresses(vips, p.V6)
}

func endpointsOf(n Node, sp *corev1.ServicePort, v6 bool, all []*discoveryv1.EndpointSlice) []endpoint {
	var out []endpoint
	seen := map[netip.AddrPort]int{}
	for _, sl := range all {
		if (sl.AddressType == discoveryv1.AddressTypeIPv6) != v6 || sl.AddressType == discoveryv1.AddressTypeFQDN {
			continue
		}
		number, ok := portIn(sl, sp)
		if !ok {
			continue
		}
		for i := range sl.Endpoints {
			e := &sl.Endpoints[i]
			if len(e.Addresses) == 0 {
				continue
			}
			ip, err := netip.ParseAddr(e.Addresses[0])
			if err != nil {
				continue
			}
			x := endpoint{at: netip.AddrPortFrom(ip.Unmap(), number), ready: e.Conditions.Ready == nil || *e.Conditions.Ready,
				local: e.NodeName != nil && *e.NodeName == n.Name}
			serving := x.ready || (e.Conditions.Serving != nil && *e.Conditions.Serving && e.Conditions.Terminating != nil && *e.Conditions.Terminating)
			if !serving {
				continue
			}
			x.hint(e)
			if j, dup := seen[x.at]; dup { // two slices may name one endpoint while it moves between them
				out[j].ready = out[j].ready || x.ready
				continue
			}
			seen[x.at] = len(out)
			out = append(out, x)
		}
	}
	slices.SortFunc(out, func(a, b endpoint) int { return a.at.Compare(b.at) })
	return out
}

func (x *endpoint) hint(e *discoveryv1.Endpoint) {
	if e.Hints == nil {
		return
	}
	for _, z := range e.Hints.ForZones {
		x.zones, x.hintedZone = append(x.zones, z.Name), true
	}
	for _, z := range e.Hints.ForNodes {
		x.nodes, x.hintedNode = append(x.nodes, z.Name), true
	}
}

func portIn(sl *discoveryv1.EndpointSlice, sp *corev1.ServicePort) (uint16, bool) {
	for i := range sl.Ports {
		p := &sl.Ports[i]
		name := ""
		if p.Name != nil {
			name = *p.Name
		}
		proto := corev1.ProtocolTCP
		if p.Protocol != nil {
			proto = *p.Protocol
		}
		if name == sp.Name && protocol(proto) == protocol(sp.Protocol) && p.Port != nil {
			return uint16(*p.Port), true
		}
	}
	return 0, false
}

// closest keeps the endpoints hinted for this node, else those hinted for its zone, else all. Hints count only if every ready
// endpoint has one and one of them is for us (API docs, EndpointHints; KEP-2433, KEP-3015).
func closest(n Node, eps []endpoint) []endpoint {
	if out, ok := hinted(eps, n.Name, func(e *endpoint) ([]string, bool) { return e.nodes, e.hintedNode }); ok {
		return out
	}
	if out, ok := hinted(eps, n.Zone, func(e *endpoint) ([]string, bool) { return e.zones, e.hintedZone }); ok {
		return out
	}
	return eps
}

func hinted(eps []endpoint, us string, hints func(*endpoint) ([]string, bool)) ([]endpoint, bool) {
	if us == "" {
		return nil, false
	}
	var out []endpoint
	for i := range eps {
		if !eps[i].ready {
			continue
		}
		names, ok := hints(&eps[i])
		if !ok {
			return nil, false
		}
		if slices.Contains(names, us) {
			out = append(out, eps[i])
		}
	}
	return out, len(out) > 0
}

// usable are the ready endpoints, or if there is none those that still serve while they terminate (KEP-1669).
func usable(eps []endpoint) []netip.AddrPort {
	var ready, last []netip.AddrPort
	for _, e := range eps {
		if e.ready {
			ready = append(ready, e.at)
		} else {
			last = append(last, e.at)
		}
	}
	if len(ready) > 0 {
		return ready
	}
	return last
}

func affinity(c *corev1.SessionAffinityConfig) time.Duration {
	if c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
		return time.Duration(*c.ClientIP.TimeoutSeconds) * time.Second
	}
	return time.Duration(corev1.DefaultClientIPServiceAffinitySeconds) * time.Second
}

func protocol(p corev1.Protocol) Protocol {
	switch p {
	case corev1.ProtocolUDP:
		return UDP
	case corev1.ProtocolSCTP:
		return SCTP
	}
	return TCP
}

func addresses(texts []string, v6 bool) []netip.Addr {
	var out []netip.Addr
	for _, t := range texts {
		if ip, err := netip.ParseAddr(t); err == nil && ip.Unmap().Is6() == v6 {
			out = append(out, ip.Unmap())
		}
	}
	return unique(out)
}

func unique(in []netip.Addr) []netip.Addr {
	slices.SortFunc(in, netip.Addr.Compare)
	return slices.Compact(in)
}
