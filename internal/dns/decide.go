package dns

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// names are all names of one service, as the Kubernetes DNS specification 1.1
// lists them.
func names(origin string, service *corev1.Service, slices []*discoveryv1.EndpointSlice) []owned {
	base := service.Name + "." + service.Namespace + ".svc." + origin
	switch {
	case service.Spec.Type == corev1.ServiceTypeExternalName:
		return []owned{{name: base, node: node{alias: dns.Fqdn(service.Spec.ExternalName)}}}
	case service.Spec.ClusterIP == corev1.ClusterIPNone:
		return headless(base, service, slices)
	case service.Spec.ClusterIP == "":
		return nil // not allocated yet
	}
	return clustered(base, service)
}

// clustered: the service's own addresses, a PTR for each, and a SRV record for
// each named port.
func clustered(base string, service *corev1.Service) []owned {
	var out []owned
	at := node{}
	ips := service.Spec.ClusterIPs
	if len(ips) == 0 {
		ips = []string{service.Spec.ClusterIP}
	}
	for _, text := range ips {
		if a, err := netip.ParseAddr(text); err == nil {
			at.addresses = append(at.addresses, a)
			out = append(out, owned{name: reverseName(a), ptr: base})
		}
	}
	for _, p := range service.Spec.Ports {
		at.services = append(at.services, srv{uint16(p.Port), base})
		if p.Name != "" {
			out = append(out, owned{name: portName(p.Name, p.Protocol, base), node: node{services: []srv{{uint16(p.Port), base}}}})
		}
	}
	return append(out, owned{name: base, node: at})
}

// headless: the addresses of the endpoints that are ready, a name for each of
// them, and SRV records that point at those names.
func headless(base string, service *corev1.Service, all []*discoveryv1.EndpointSlice) []owned {
	var out []owned
	at := node{}
	hosts := map[string]*node{}
	ports := map[string]*node{}
	var order []string
	for _, slice := range all {
		if slice.AddressType == discoveryv1.AddressTypeFQDN {
			continue
		}
		for i := range slice.Endpoints {
			e := &slice.Endpoints[i]
			if !service.Spec.PublishNotReadyAddresses && e.Conditions.Ready != nil && !*e.Conditions.Ready {
				continue
			}
			for _, text := range e.Addresses {
				a, err := netip.ParseAddr(text)
				if err != nil {
					continue
				}
				if !slices.Contains(at.addresses, a) {
					at.addresses = append(at.addresses, a)
				}
				host := hostName(e, a) + "." + base
				if hosts[host] == nil {
					hosts[host] = &node{}
					order = append(order, host)
				}
				hosts[host].addresses = append(hosts[host].addresses, a)
				if e.Hostname != nil && *e.Hostname != "" {
					out = append(out, owned{name: reverseName(a), ptr: host})
				}
				addPorts(slice, host, base, &at, ports)
			}
		}
	}
	for _, host := range order {
		out = append(out, owned{name: host, node: *hosts[host]})
	}
	for name, n := range ports {
		out = append(out, owned{name: name, node: *n})
	}
	return append(out, owned{name: base, node: at})
}

func addPorts(slice *discoveryv1.EndpointSlice, host, base string, at *node, ports map[string]*node) {
	for _, p := range slice.Ports {
		if p.Port == nil {
			continue
		}
		record := srv{uint16(*p.Port), host}
		if !slices.Contains(at.services, record) {
			at.services = append(at.services, record)
		}
		if p.Name == nil || *p.Name == "" {
			continue
		}
		protocol := corev1.ProtocolTCP
		if p.Protocol != nil {
			protocol = *p.Protocol
		}
		name := portName(*p.Name, protocol, base)
		if ports[name] == nil {
			ports[name] = &node{}
		}
		if !slices.Contains(ports[name].services, record) {
			ports[name].services = append(ports[name].services, record)
		}
	}
}

// hostName is an endpoint's own label below the service: its host name, or its
// address with dashes.
func hostName(e *discoveryv1.Endpoint, a netip.Addr) string {
	if e.Hostname != nil && *e.Hostname != "" {
		return strings.ToLower(*e.Hostname)
	}
	return strings.NewReplacer(".", "-", ":", "-").Replace(a.String())
}

func portName(port string, protocol corev1.Protocol, base string) string {
	return strings.ToLower("_" + port + "._" + string(protocol) + "." + base)
}

func reverseName(a netip.Addr) string {
	name, err := dns.ReverseAddr(a.String())
	if err != nil {
		return ""
	}
	return name
}
