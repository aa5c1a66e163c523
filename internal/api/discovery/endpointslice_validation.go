package discovery

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nau/internal/api/meta"
)

const (
	maxAddresses = 100
	maxPorts     = 20000
	maxEndpoints = 1000
	maxHints     = 8
)

func validateSlice(s *discoveryv1.EndpointSlice) field.ErrorList {
	errs := meta.OneOf(field.NewPath("addressType"), s.AddressType, discoveryv1.AddressTypeFQDN, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6)
	errs = append(errs, validateSliceEndpoints(field.NewPath("endpoints"), s)...)
	return append(errs, validateSlicePorts(field.NewPath("ports"), s.Ports)...)
}

func validateSliceUpdate(new, old *discoveryv1.EndpointSlice) field.ErrorList {
	return append(validateSlice(new), meta.Immutable(field.NewPath("addressType"), new.AddressType, old.AddressType)...)
}

func validateSliceEndpoints(p *field.Path, s *discoveryv1.EndpointSlice) field.ErrorList {
	if len(s.Endpoints) > maxEndpoints {
		return field.ErrorList{field.TooMany(p, len(s.Endpoints), maxEndpoints)}
	}
	var errs field.ErrorList
	for i, e := range s.Endpoints {
		at := p.Index(i)
		addresses := at.Child("addresses")
		switch n := len(e.Addresses); {
		case n == 0:
			errs = append(errs, field.Required(addresses, "must contain at least 1 address"))
		case n > maxAddresses:
			errs = append(errs, field.TooMany(addresses, n, maxAddresses))
		}
		for j, a := range e.Addresses {
			switch s.AddressType {
			case discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6:
				errs = append(errs, validateAddress(addresses.Index(j), a, s.AddressType)...)
			case discoveryv1.AddressTypeFQDN:
				errs = append(errs, validation.IsFullyQualifiedDomainName(addresses.Index(j), a)...)
			}
		}
		if e.NodeName != nil {
			errs = append(errs, meta.DNSSubdomain(at.Child("nodeName"), *e.NodeName)...)
		}
		errs = append(errs, meta.Labels(at.Child("deprecatedTopology"), e.DeprecatedTopology)...)
		if e.Hostname != nil {
			errs = append(errs, meta.DNSLabel(at.Child("hostname"), *e.Hostname)...)
		}
		if h := e.Hints; h != nil {
			zones := sets.New[string]()
			if len(h.ForZones) > maxHints {
				errs = append(errs, field.TooMany(at.Child("hints", "forZones"), len(h.ForZones), maxHints))
			}
			for j, z := range h.ForZones {
				zp := at.Child("hints", "forZones").Index(j).Child("name")
				if zones.Has(z.Name) {
					errs = append(errs, field.Duplicate(zp, z.Name))
				}
				zones.Insert(z.Name)
				errs = append(errs, meta.Invalid(zp, z.Name, validation.IsValidLabelValue(z.Name))...)
			}
			if len(h.ForNodes) > maxHints {
				errs = append(errs, field.TooMany(at.Child("hints", "forNodes"), len(h.ForNodes), maxHints))
			}
		}
	}
	return errs
}

func validateSlicePorts(p *field.Path, ports []discoveryv1.EndpointPort) field.ErrorList {
	if len(ports) > maxPorts {
		return field.ErrorList{field.TooMany(p, len(ports), maxPorts)}
	}
	var errs field.ErrorList
	names := sets.New[string]()
	for i, port := range ports {
		at := p.Index(i)
		name := ""
		if port.Name != nil {
			name = *port.Name
		}
		if name != "" {
			errs = append(errs, meta.DNSLabel(at.Child("name"), name)...)
		}
		if names.Has(name) {
			errs = append(errs, field.Duplicate(at.Child("name"), port.Name))
		}
		names.Insert(name)
		if port.Port != nil {
			errs = append(errs, meta.Port(at.Child("port"), *port.Port)...)
		}
		if port.Protocol == nil {
			errs = append(errs, field.Required(at.Child("protocol"), ""))
		} else {
			errs = append(errs, meta.OneOf(at.Child("protocol"), *port.Protocol, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)...)
		}
		if port.AppProtocol != nil {
			errs = append(errs, meta.QualifiedName(at.Child("appProtocol"), *port.AppProtocol)...)
		}
	}
	return errs
}

// validateAddress: of the slice's family, and an address that traffic can be sent to.
func validateAddress(p *field.Path, value string, family discoveryv1.AddressType) field.ErrorList {
	errs := validation.IsValidIPForLegacyField(p, value, false, nil)
	if len(errs) > 0 {
		return errs
	}
	ip, err := netip.ParseAddr(value)
	if err != nil {
		return nil // leading zeros, which old objects may have
	}
	if ip.Is4() != (family == discoveryv1.AddressTypeIPv4) {
		return field.ErrorList{field.Invalid(p, value, fmt.Sprintf("must be an %s address", family))}
	}
	switch {
	case ip.IsUnspecified():
		return field.ErrorList{field.Invalid(p, value, fmt.Sprintf("may not be unspecified (%v)", value))}
	case ip.IsLoopback():
		return field.ErrorList{field.Invalid(p, value, "may not be in the loopback range (127.0.0.0/8, ::1/128)")}
	case ip.IsLinkLocalUnicast():
		return field.ErrorList{field.Invalid(p, value, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")}
	case ip.IsLinkLocalMulticast():
		return field.ErrorList{field.Invalid(p, value, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")}
	}
	return nil
}
