package apiserver

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// settleFamilies fills ipFamilyPolicy and ipFamilies of a service as the dual-stack rules say (KEP-563). old is nil on create;
// families are the cluster's, the preferred one first.
func settleFamilies(s, old *corev1.ServiceSpec, families []corev1.IPFamily) *field.Error {
	if s.Type == corev1.ServiceTypeExternalName {
		if old == nil || old.Type != corev1.ServiceTypeExternalName {
			s.IPFamilies, s.IPFamilyPolicy = nil, nil
		}
		return nil
	}
	spec := field.NewPath("spec")
	if old != nil && old.Type == corev1.ServiceTypeExternalName {
		old = nil
	}
	if old != nil {
		if s.IPFamilyPolicy == nil {
			s.IPFamilyPolicy = old.IPFamilyPolicy
		}
		if len(s.IPFamilies) == 0 {
			s.IPFamilies = slices.Clone(old.IPFamilies)
		}
	}
	// What contradicts itself is refused here: what follows would settle it in silence.
	if ips := spec.Child("clusterIPs"); len(s.ClusterIPs) > 0 && s.ClusterIP == "" {
		return field.Invalid(ips, s.ClusterIPs, "must be empty when `clusterIP` is not specified")
	} else if len(s.ClusterIPs) > 0 && s.ClusterIP != s.ClusterIPs[0] {
		return field.Invalid(ips, s.ClusterIPs, "first value must match `clusterIP`")
	}
	for i, f := range s.IPFamilies {
		switch {
		case slices.Contains(s.IPFamilies[:i], f):
			return field.Duplicate(spec.Child("ipFamilies").Index(i), f)
		case f != corev1.IPv4Protocol && f != corev1.IPv6Protocol:
			return field.NotSupported(spec.Child("ipFamilies").Index(i), f, []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol})
		case !slices.Contains(families, f):
			return field.Invalid(spec.Child("ipFamilies").Index(i), f, "not configured on this cluster")
		}
	}
	headless := s.ClusterIP == corev1.ClusterIPNone
	// Addresses that are asked for say their families.
	if !headless {
		for i, text := range s.ClusterIPs {
			ip, err := netip.ParseAddr(text)
			if err != nil {
				continue // validation says so
			}
			f := familyOf(ip)
			switch {
			case i < len(s.IPFamilies) && s.IPFamilies[i] != f:
				return field.Invalid(spec.Child("clusterIPs").Index(i), text, fmt.Sprintf("expected an %v value as indicated by `ipFamilies[%v]`", s.IPFamilies[i], i))
			case i >= len(s.IPFamilies):
				if !slices.Contains(families, f) {
					return field.Invalid(spec.Child("clusterIPs").Index(i), text, fmt.Sprintf("may not use %s on a cluster which is not configured for it", f))
				}
				s.IPFamilies = append(s.IPFamilies, f)
			}
		}
	}
	if s.IPFamilyPolicy == nil {
		policy := corev1.IPFamilyPolicySingleStack
		switch {
		case headless && len(s.Selector) == 0 && len(s.IPFamilies) == 0:
			// Nobody knows the families of endpoints that somebody else will write: both.
			policy = corev1.IPFamilyPolicyRequireDualStack
			s.IPFamilies = bothFrom(nil, families)
			s.IPFamilyPolicy = &policy
			return nil
		case len(s.IPFamilies) == 2 || len(s.ClusterIPs) == 2:
			policy = corev1.IPFamilyPolicyRequireDualStack
		}
		s.IPFamilyPolicy = &policy
	}
	selectorless := headless && len(s.Selector) == 0
	switch *s.IPFamilyPolicy {
	case corev1.IPFamilyPolicySingleStack:
		if len(s.IPFamilies) > 1 {
			if old == nil || old.IPFamilyPolicy == nil || *old.IPFamilyPolicy == corev1.IPFamilyPolicySingleStack || !slices.Equal(s.IPFamilies, old.IPFamilies) {
				return field.Invalid(spec.Child("ipFamilyPolicy"), *s.IPFamilyPolicy, "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified")
			}
			s.IPFamilies = s.IPFamilies[:1] // from dual to single stack
		}
		if len(s.ClusterIPs) > 1 && len(s.IPFamilies) == 1 {
			s.ClusterIPs = s.ClusterIPs[:1]
		}
		if len(s.IPFamilies) == 0 {
			s.IPFamilies = families[:1:1]
		}
	case corev1.IPFamilyPolicyRequireDualStack:
		if len(families) < 2 && !selectorless {
			return field.Invalid(spec.Child("ipFamilyPolicy"), *s.IPFamilyPolicy, "this cluster is not configured for dual-stack services")
		}
		s.IPFamilies = bothFrom(s.IPFamilies, families)
	case corev1.IPFamilyPolicyPreferDualStack:
		if len(families) > 1 || selectorless {
			s.IPFamilies = bothFrom(s.IPFamilies, families)
		} else if len(s.IPFamilies) == 0 {
			s.IPFamilies = families[:1:1]
		}
	}
	return nil
}

// bothFrom adds the missing family.
func bothFrom(have, families []corev1.IPFamily) []corev1.IPFamily {
	first := families[0]
	if len(have) > 0 {
		first = have[0]
	}
	if first == corev1.IPv4Protocol {
		return []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
	}
	return []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}
}

func familyOf(ip netip.Addr) corev1.IPFamily {
	if ip.Is4() || ip.Is4In6() {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}

// wantsAddress tells whether a service has cluster addresses.
func wantsAddress(s *corev1.ServiceSpec) bool {
	return s.Type != corev1.ServiceTypeExternalName && s.ClusterIP != corev1.ClusterIPNone
}

// wantsNodePorts tells whether a service's ports are open on nodes.
func wantsNodePorts(s *corev1.ServiceSpec) bool {
	return s.Type == corev1.ServiceTypeNodePort ||
		s.Type == corev1.ServiceTypeLoadBalancer && (s.AllocateLoadBalancerNodePorts == nil || *s.AllocateLoadBalancerNodePorts)
}

func wantsHealthPort(s *corev1.ServiceSpec) bool {
	return s.Type == corev1.ServiceTypeLoadBalancer && s.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

// addressesOf and portsOf are what a stored service holds.
func addressesOf(s *corev1.ServiceSpec) []string {
	if !wantsAddress(s) {
		return nil
	}
	if len(s.ClusterIPs) == 0 && s.ClusterIP != "" {
		return []string{s.ClusterIP}
	}
	return s.ClusterIPs
}

func portsOf(s *corev1.ServiceSpec) []int32 {
	var out []int32
	for _, p := range s.Ports {
		if p.NodePort != 0 && !slices.Contains(out, p.NodePort) {
			out = append(out, p.NodePort)
		}
	}
	if p := s.HealthCheckNodePort; p != 0 && !slices.Contains(out, p) {
		out = append(out, p)
	}
	return out
}
