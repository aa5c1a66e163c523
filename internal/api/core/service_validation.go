package core

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nau/internal/api/meta"
)

func headless(s *corev1.ServiceSpec) bool {
	return len(s.ClusterIPs) == 1 && s.ClusterIPs[0] == corev1.ClusterIPNone
}

func validateService(s *corev1.Service) field.ErrorList {
	p, spec := field.NewPath("spec"), &s.Spec
	var errs field.ErrorList
	if len(spec.Ports) == 0 && !headless(spec) && spec.Type != corev1.ServiceTypeExternalName {
		errs = append(errs, field.Required(p.Child("ports"), ""))
	}
	switch spec.Type {
	case corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort:
		if headless(spec) {
			errs = append(errs, field.Invalid(p.Child("clusterIPs").Index(0), spec.ClusterIPs[0], fmt.Sprintf("may not be set to 'None' for %s services", spec.Type)))
		}
		for i, port := range spec.Ports {
			if spec.Type == corev1.ServiceTypeLoadBalancer && port.Port == 10250 {
				errs = append(errs, field.Invalid(p.Child("ports").Index(i), port.Port, "may not expose port 10250 externally since it is used by kubelet"))
			}
		}
	case corev1.ServiceTypeExternalName:
		if len(spec.ClusterIPs) > 0 {
			errs = append(errs, field.Forbidden(p.Child("clusterIPs"), "may not be set for ExternalName services"))
		}
		if spec.IPFamilyPolicy != nil {
			errs = append(errs, field.Forbidden(p.Child("ipFamilyPolicy"), "may not be set for ExternalName services"))
		}
		if len(spec.IPFamilies) > 0 {
			errs = append(errs, field.Forbidden(p.Child("ipFamilies"), "may not be set for ExternalName services"))
		}
		if spec.ExternalName == "" {
			errs = append(errs, field.Required(p.Child("externalName"), ""))
		} else {
			errs = append(errs, meta.DNSSubdomain(p.Child("externalName"), strings.TrimSuffix(spec.ExternalName, "."))...)
		}
	}
	errs = append(errs, validateServicePorts(p.Child("ports"), spec)...)
	if spec.Selector != nil {
		errs = append(errs, meta.Labels(p.Child("selector"), spec.Selector)...)
	}
	errs = append(errs, meta.OneOf(p.Child("sessionAffinity"), spec.SessionAffinity, corev1.ServiceAffinityClientIP, corev1.ServiceAffinityNone)...)
	errs = append(errs, validateAffinityConfig(p.Child("sessionAffinityConfig"), spec)...)
	errs = append(errs, validateServiceIPs(p, spec)...)
	for i, ip := range spec.ExternalIPs {
		at := p.Child("externalIPs").Index(i)
		if own := validation.IsValidIPForLegacyField(at, ip, false, nil); len(own) > 0 {
			errs = append(errs, own...)
		} else {
			errs = append(errs, validateNonSpecialIP(at, ip)...)
		}
	}
	errs = append(errs, meta.OneOf(p.Child("type"), spec.Type, corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeExternalName)...)
	if len(spec.LoadBalancerSourceRanges) > 0 {
		at := p.Child("loadBalancerSourceRanges")
		if spec.Type != corev1.ServiceTypeLoadBalancer {
			errs = append(errs, field.Forbidden(at, "may only be used when `type` is 'LoadBalancer'"))
		}
		for i, cidr := range spec.LoadBalancerSourceRanges {
			errs = append(errs, validation.IsValidCIDRForLegacyField(at.Index(i), strings.TrimSpace(cidr), false, nil)...)
		}
	}
	if spec.AllocateLoadBalancerNodePorts != nil && spec.Type != corev1.ServiceTypeLoadBalancer {
		errs = append(errs, field.Forbidden(p.Child("allocateLoadBalancerNodePorts"), "may only be used when `type` is 'LoadBalancer'"))
	}
	if spec.Type == corev1.ServiceTypeLoadBalancer && spec.AllocateLoadBalancerNodePorts == nil {
		errs = append(errs, field.Required(p.Child("allocateLoadBalancerNodePorts"), ""))
	}
	if c := spec.LoadBalancerClass; c != nil {
		at := p.Child("loadBalancerClass")
		if spec.Type != corev1.ServiceTypeLoadBalancer {
			errs = append(errs, field.Forbidden(at, "may only be used when `type` is 'LoadBalancer'"))
		}
		errs = append(errs, meta.QualifiedName(at, *c)...)
	}
	errs = append(errs, validateTrafficPolicies(p, spec)...)
	return errs
}

func validateServicePorts(p *field.Path, s *corev1.ServiceSpec) field.ErrorList {
	var errs field.ErrorList
	type portKey struct {
		protocol corev1.Protocol
		port     int32
	}
	names, nodePorts, ports := sets.New[string](), sets.New[portKey](), sets.New[portKey]()
	for i, port := range s.Ports {
		at := p.Index(i)
		if port.Name == "" {
			if len(s.Ports) > 1 {
				errs = append(errs, field.Required(at.Child("name"), ""))
			}
		} else {
			errs = append(errs, meta.DNSLabel(at.Child("name"), port.Name)...)
			if names.Has(port.Name) {
				errs = append(errs, field.Duplicate(at.Child("name"), port.Name))
			}
			names.Insert(port.Name)
		}
		errs = append(errs, meta.Port(at.Child("port"), port.Port)...)
		errs = append(errs, validateProtocol(at.Child("protocol"), port.Protocol)...)
		errs = append(errs, meta.PortNumOrName(at.Child("targetPort"), port.TargetPort)...)
		if port.AppProtocol != nil {
			errs = append(errs, meta.QualifiedName(at.Child("appProtocol"), *port.AppProtocol)...)
		}
		if port.NodePort != 0 {
			if s.Type == corev1.ServiceTypeClusterIP || s.Type == corev1.ServiceTypeExternalName {
				errs = append(errs, field.Forbidden(at.Child("nodePort"), fmt.Sprintf("may not be used when `type` is '%s'", s.Type)))
			}
			k := portKey{port.Protocol, port.NodePort}
			if nodePorts.Has(k) {
				errs = append(errs, field.Duplicate(at.Child("nodePort"), port.NodePort))
			}
			nodePorts.Insert(k)
		}
		k := portKey{port.Protocol, port.Port}
		if ports.Has(k) {
			errs = append(errs, field.Duplicate(at, corev1.ServicePort{Protocol: port.Protocol, Port: port.Port}))
		}
		ports.Insert(k)
	}
	return errs
}

func validateAffinityConfig(p *field.Path, s *corev1.ServiceSpec) field.ErrorList {
	c := s.SessionAffinityConfig
	switch {
	case s.SessionAffinity == corev1.ServiceAffinityClientIP && (c == nil || c.ClientIP == nil || c.ClientIP.TimeoutSeconds == nil):
		return field.ErrorList{field.Required(p.Child("clientIP", "timeoutSeconds"), "")}
	case s.SessionAffinity == corev1.ServiceAffinityClientIP:
		if t := *c.ClientIP.TimeoutSeconds; t <= 0 || t > 86400 {
			return field.ErrorList{field.Invalid(p.Child("clientIP", "timeoutSeconds"), t, fmt.Sprintf("must be greater than 0 and less than %d", 86400))}
		}
	case s.SessionAffinity == corev1.ServiceAffinityNone && c != nil:
		return field.ErrorList{field.Forbidden(p, fmt.Sprintf("must not be set when session affinity is %s", corev1.ServiceAffinityNone))}
	}
	return nil
}

func validateServiceIPs(p *field.Path, s *corev1.ServiceSpec) field.ErrorList {
	var errs field.ErrorList
	ips := p.Child("clusterIPs")
	if s.ClusterIP != "" && len(s.ClusterIPs) == 0 {
		errs = append(errs, field.Required(ips, ""))
	}
	if len(s.ClusterIPs) > 0 && s.ClusterIP != s.ClusterIPs[0] {
		errs = append(errs, field.Invalid(ips, s.ClusterIPs, "first value must match `clusterIP`"))
	}
	if v := s.IPFamilyPolicy; v != nil {
		errs = append(errs, meta.OneOf(p.Child("ipFamilyPolicy"), *v, corev1.IPFamilyPolicySingleStack, corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack)...)
	}
	seen := sets.New[corev1.IPFamily]()
	for i, f := range s.IPFamilies {
		at := p.Child("ipFamilies").Index(i)
		selectorless := len(s.Selector) == 0 && headless(s)
		if f != corev1.IPv4Protocol && f != corev1.IPv6Protocol && !selectorless {
			errs = append(errs, field.NotSupported(at, f, []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}))
		}
		if seen.Has(f) {
			errs = append(errs, field.Duplicate(at, f))
		}
		seen.Insert(f)
	}
	if len(s.IPFamilies) > 2 {
		errs = append(errs, field.Invalid(p.Child("ipFamilies"), s.IPFamilies, "may only hold up to 2 values"))
	}
	if len(s.ClusterIPs) > 2 {
		errs = append(errs, field.Invalid(ips, s.ClusterIPs, "may only hold up to 2 values"))
	}
	if (len(s.IPFamilies) == 2 || len(s.ClusterIPs) == 2) && s.IPFamilyPolicy != nil && *s.IPFamilyPolicy == corev1.IPFamilyPolicySingleStack {
		errs = append(errs, field.Invalid(p.Child("ipFamilyPolicy"), *s.IPFamilyPolicy, "may not be SingleStack when multiple 'ipFamilies' or 'clusterIPs' are specified"))
	}
	var families []corev1.IPFamily
	for i, ip := range s.ClusterIPs {
		if i == 0 && ip == corev1.ClusterIPNone {
			if len(s.ClusterIPs) > 1 {
				errs = append(errs, field.Invalid(ips, s.ClusterIPs, "'None' must be the first and only value"))
			}
			break
		}
		at := ips.Index(i)
		if own := validation.IsValidIPForLegacyField(at, ip, false, nil); len(own) > 0 {
			errs = append(errs, own...)
			continue
		}
		f := corev1.IPv6Protocol
		if a, err := netip.ParseAddr(ip); err == nil && a.Is4() {
			f = corev1.IPv4Protocol
		}
		families = append(families, f)
		if i < len(s.IPFamilies) && s.IPFamilies[i] != f {
			errs = append(errs, field.Invalid(at, ip, fmt.Sprintf("expected an %s value as indicated by `ipFamilies[%v]`", s.IPFamilies[i], i)))
		}
	}
	if len(families) == 2 && families[0] == families[1] {
		errs = append(errs, field.Invalid(ips, s.ClusterIPs, "may specify no more than one IP for each IP family"))
	}
	return errs
}

func validateTrafficPolicies(p *field.Path, s *corev1.ServiceSpec) field.ErrorList {
	var errs field.ErrorList
	if s.ExternalTrafficPolicy != "" || externallyAccessible(s) {
		at := p.Child("externalTrafficPolicy")
		if !externallyAccessible(s) {
			errs = append(errs, field.Invalid(at, s.ExternalTrafficPolicy, "may only be set for externally-accessible services"))
		} else {
			errs = append(errs, meta.OneOf(at, s.ExternalTrafficPolicy, corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal)...)
		}
	}
	if n := s.HealthCheckNodePort; n != 0 {
		at := p.Child("healthCheckNodePort")
		if !hasHealthPort(s) {
			errs = append(errs, field.Invalid(at, n, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"))
		} else {
			errs = append(errs, meta.Port(at, n)...)
		}
	}
	if v := s.InternalTrafficPolicy; v == nil {
		if hasClusterIP(s) {
			errs = append(errs, field.Required(p.Child("internalTrafficPolicy"), ""))
		}
	} else {
		errs = append(errs, meta.OneOf(p.Child("internalTrafficPolicy"), *v, corev1.ServiceInternalTrafficPolicyCluster, corev1.ServiceInternalTrafficPolicyLocal)...)
	}
	if v := s.TrafficDistribution; v != nil {
		errs = append(errs, meta.OneOf(p.Child("trafficDistribution"), *v, corev1.ServiceTrafficDistributionPreferClose,
			corev1.ServiceTrafficDistributionPreferSameZone, corev1.ServiceTrafficDistributionPreferSameNode)...)
	}
	return errs
}

// validateServiceUpdate: addresses and families that were given out stay with the service.
func validateServiceUpdate(new, old *corev1.Service) field.ErrorList {
	p := field.NewPath("spec")
	errs := validateService(new)
	is, was := &new.Spec, &old.Spec
	if hasClusterIP(was) && hasClusterIP(is) {
		at := p.Child("clusterIPs")
		for i, ip := range was.ClusterIPs {
			if ip == "" {
				continue
			}
			switch {
			case i < len(is.ClusterIPs) && is.ClusterIPs[i] != ip:
				errs = append(errs, field.Invalid(at.Index(i), is.ClusterIPs, "may not change once set"))
			case i >= len(is.ClusterIPs) && i == 0:
				errs = append(errs, field.Invalid(at.Index(0), is.ClusterIPs, "primary clusterIP can not be unset"))
			}
		}
		if len(was.IPFamilies) > 0 && len(is.IPFamilies) > 0 && is.IPFamilies[0] != was.IPFamilies[0] {
			errs = append(errs, field.Invalid(p.Child("ipFamilies").Index(0), is.IPFamilies, "may not change once set"))
		}
		single := is.IPFamilyPolicy == nil || *is.IPFamilyPolicy == corev1.IPFamilyPolicySingleStack
		if len(was.IPFamilies) == 2 && len(is.IPFamilies) == 2 && !single && !slices.Equal(is.IPFamilies, was.IPFamilies) {
			errs = append(errs, field.Invalid(p.Child("ipFamilies").Index(1), is.IPFamilies, "must match ipFamilies[1]"))
		}
	}
	if was.Type == corev1.ServiceTypeLoadBalancer && is.Type == corev1.ServiceTypeLoadBalancer {
		wasClass, isClass := "", ""
		if was.LoadBalancerClass != nil {
			wasClass = *was.LoadBalancerClass
		}
		if is.LoadBalancerClass != nil {
			isClass = *is.LoadBalancerClass
		}
		if wasClass != isClass {
			errs = append(errs, field.Invalid(p.Child("loadBalancerClass"), is.LoadBalancerClass, "may not change once set"))
		}
	}
	return errs
}

func validateServiceStatus(new, _ *corev1.Service) field.ErrorList {
	p := field.NewPath("status", "loadBalancer", "ingress")
	var errs field.ErrorList
	for i, in := range new.Status.LoadBalancer.Ingress {
		at := p.Index(i)
		if in.IP != "" {
			errs = append(errs, validation.IsValidIPForLegacyField(at.Child("ip"), in.IP, false, nil)...)
		}
		switch {
		case in.IPMode == nil && in.IP != "":
			errs = append(errs, field.Required(at.Child("ipMode"), "must be specified when `ip` is set"))
		case in.IPMode != nil && in.IP == "":
			errs = append(errs, field.Forbidden(at.Child("ipMode"), "may not be specified when `ip` is not set"))
		case in.IPMode != nil:
			errs = append(errs, meta.OneOf(at.Child("ipMode"), *in.IPMode, corev1.LoadBalancerIPModeVIP, corev1.LoadBalancerIPModeProxy)...)
		}
		if in.Hostname != "" {
			errs = append(errs, meta.DNSSubdomain(at.Child("hostname"), in.Hostname)...)
			if _, err := netip.ParseAddr(in.Hostname); err == nil {
				errs = append(errs, field.Invalid(at.Child("hostname"), in.Hostname, "must be a DNS name, not an IP address"))
			}
		}
	}
	return errs
}

// validateNonSpecialIP refuses addresses that no endpoint or external address may have.
func validateNonSpecialIP(p *field.Path, value string) field.ErrorList {
	ip, err := netip.ParseAddr(value)
	if err != nil {
		return nil
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
