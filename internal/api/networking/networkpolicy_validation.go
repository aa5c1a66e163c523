package networking

import (
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nau/internal/api/meta"
)

func validateNetworkPolicy(n *networkingv1.NetworkPolicy) field.ErrorList {
	p, s := field.NewPath("spec"), &n.Spec
	errs := meta.LabelSelector(p.Child("podSelector"), &s.PodSelector)
	for i, r := range s.Ingress {
		at := p.Child("ingress").Index(i)
		errs = append(errs, validatePolicyPorts(at.Child("ports"), r.Ports)...)
		errs = append(errs, validatePeers(at.Child("from"), r.From)...)
	}
	for i, r := range s.Egress {
		at := p.Child("egress").Index(i)
		errs = append(errs, validatePolicyPorts(at.Child("ports"), r.Ports)...)
		errs = append(errs, validatePeers(at.Child("to"), r.To)...)
	}
	types := sets.New(networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress)
	if len(s.PolicyTypes) > types.Len() {
		return append(errs, field.Invalid(p.Child("policyTypes"), s.PolicyTypes, "may not specify more than two policyTypes"))
	}
	for i, t := range s.PolicyTypes {
		if !types.Has(t) {
			errs = append(errs, field.NotSupported(p.Child("policyTypes").Index(i), t, []networkingv1.PolicyType{networkingv1.PolicyTypeEgress, networkingv1.PolicyTypeIngress}))
		}
	}
	return errs
}

func validatePolicyPorts(p *field.Path, ports []networkingv1.NetworkPolicyPort) field.ErrorList {
	var errs field.ErrorList
	for i, port := range ports {
		at := p.Index(i)
		if port.Protocol != nil {
			if v := *port.Protocol; v != corev1.ProtocolTCP && v != corev1.ProtocolUDP && v != corev1.ProtocolSCTP {
				errs = append(errs, field.NotSupported(at.Child("protocol"), v, []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP}))
			}
		}
		if port.Port == nil {
			if port.EndPort != nil {
				errs = append(errs, field.Required(at.Child("port"), "must be specified when `endPort` is specified"))
			}
			continue
		}
		errs = append(errs, meta.PortNumOrName(at.Child("port"), *port.Port)...)
		if port.EndPort == nil {
			continue
		}
		switch {
		case port.Port.Type == intstr.String:
			errs = append(errs, field.Required(at.Child("port"), "`port` may not be a non-numeric value when `endPort` is specified"))
		case port.Port.IntVal > *port.EndPort:
			errs = append(errs, field.Invalid(at.Child("endPort"), port.Port.IntVal, fmt.Sprintf("must be greater than or equal to `port`: %d", port.Port.IntVal)))
		default:
			errs = append(errs, meta.Port(at.Child("endPort"), *port.EndPort)...)
		}
	}
	return errs
}

func validatePeers(p *field.Path, peers []networkingv1.NetworkPolicyPeer) field.ErrorList {
	var errs field.ErrorList
	for i, peer := range peers {
		at := p.Index(i)
		n := 0
		if peer.PodSelector != nil {
			n++
			errs = append(errs, meta.LabelSelector(at.Child("podSelector"), peer.PodSelector)...)
		}
		if peer.NamespaceSelector != nil {
			n++
			errs = append(errs, meta.LabelSelector(at.Child("namespaceSelector"), peer.NamespaceSelector)...)
		}
		if peer.IPBlock != nil {
			errs = append(errs, validateIPBlock(at.Child("ipBlock"), peer.IPBlock)...)
		}
		switch {
		case n == 0 && peer.IPBlock == nil:
			errs = append(errs, field.Required(at, "must specify a peer"))
		case n > 0 && peer.IPBlock != nil:
			errs = append(errs, field.Forbidden(at, "may not specify both ipBlock and another peer"))
		}
	}
	return errs
}

func validateIPBlock(p *field.Path, b *networkingv1.IPBlock) field.ErrorList {
	if b.CIDR == "" {
		return field.ErrorList{field.Required(p.Child("cidr"), "")}
	}
	if errs := validation.IsValidCIDRForLegacyField(p.Child("cidr"), b.CIDR, false, nil); len(errs) > 0 {
		return errs
	}
	outer, err := netip.ParsePrefix(b.CIDR)
	if err != nil {
		return nil // leading zeros, which old objects may have
	}
	var errs field.ErrorList
	for i, e := range b.Except {
		at := p.Child("except").Index(i)
		if own := validation.IsValidCIDRForLegacyField(at, e, false, nil); len(own) > 0 {
			errs = append(errs, own...)
			continue
		}
		inner, err := netip.ParsePrefix(strings.TrimSpace(e))
		if err == nil && (!outer.Contains(inner.Addr()) || inner.Bits() <= outer.Bits()) {
			errs = append(errs, field.Invalid(at, e, "must be a strict subset of `cidr`"))
		}
	}
	return errs
}

func validateServiceCIDR(c *networkingv1.ServiceCIDR) field.ErrorList {
	p := field.NewPath("spec", "cidrs")
	var errs field.ErrorList
	switch n := len(c.Spec.CIDRs); {
	case n == 0:
		errs = append(errs, field.Required(p, "at least one CIDR required"))
	case n > 2:
		errs = append(errs, field.Invalid(p, c.Spec, "may only hold up to 2 values"))
	case n == 2:
		a, errA := netip.ParsePrefix(c.Spec.CIDRs[0])
		b, errB := netip.ParsePrefix(c.Spec.CIDRs[1])
		if errA == nil && errB == nil && a.Addr().Is4() == b.Addr().Is4() {
			errs = append(errs, field.Invalid(p, c.Spec, "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"))
		}
	}
	for i, cidr := range c.Spec.CIDRs {
		errs = append(errs, validation.IsValidCIDR(p.Index(i), cidr)...)
	}
	return errs
}

func validateServiceCIDRUpdate(new, old *networkingv1.ServiceCIDR) field.ErrorList {
	return append(validateServiceCIDR(new), meta.Immutable(field.NewPath("spec", "cidrs"), new.Spec.CIDRs, old.Spec.CIDRs)...)
}

func validateIPAddress(a *networkingv1.IPAddress) field.ErrorList {
	p := field.NewPath("spec", "parentRef")
	r := a.Spec.ParentRef
	if r == nil {
		return field.ErrorList{field.Required(p, "")}
	}
	errs := meta.Required(p.Child("resource"), r.Resource)
	return append(errs, meta.Required(p.Child("name"), r.Name)...)
}

func validateIPAddressUpdate(new, old *networkingv1.IPAddress) field.ErrorList {
	return append(validateIPAddress(new), meta.Immutable(field.NewPath("spec", "parentRef"), new.Spec.ParentRef, old.Spec.ParentRef)...)
}
