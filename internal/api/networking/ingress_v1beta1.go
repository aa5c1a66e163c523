package networking

import (
	networkingv1 "k8s.io/api/networking/v1"
	networkingv1beta1 "k8s.io/api/networking/v1beta1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// ingressToV1 turns the removed beta shape into the stored one: spec.backend became defaultBackend, and
// serviceName and servicePort of a backend became service.name and service.port.
func ingressToV1(in *networkingv1beta1.Ingress) *networkingv1.Ingress {
	out := &networkingv1.Ingress{ObjectMeta: in.ObjectMeta}
	out.SetGroupVersionKind(networkingv1.SchemeGroupVersion.WithKind("Ingress"))
	out.Spec.IngressClassName = in.Spec.IngressClassName
	if in.Spec.Backend != nil {
		b := backendToV1(*in.Spec.Backend)
		out.Spec.DefaultBackend = &b
	}
	for _, t := range in.Spec.TLS {
		out.Spec.TLS = append(out.Spec.TLS, networkingv1.IngressTLS{Hosts: t.Hosts, SecretName: t.SecretName})
	}
	for _, r := range in.Spec.Rules {
		rule := networkingv1.IngressRule{Host: r.Host}
		if r.HTTP != nil {
			rule.HTTP = &networkingv1.HTTPIngressRuleValue{}
			for _, p := range r.HTTP.Paths {
				rule.HTTP.Paths = append(rule.HTTP.Paths, networkingv1.HTTPIngressPath{
					Path: p.Path, PathType: (*networkingv1.PathType)(p.PathType), Backend: backendToV1(p.Backend)})
			}
		}
		out.Spec.Rules = append(out.Spec.Rules, rule)
	}
	for _, lb := range in.Status.LoadBalancer.Ingress {
		entry := networkingv1.IngressLoadBalancerIngress{IP: lb.IP, Hostname: lb.Hostname}
		for _, p := range lb.Ports {
			entry.Ports = append(entry.Ports, networkingv1.IngressPortStatus{Port: p.Port, Protocol: p.Protocol, Error: p.Error})
		}
		out.Status.LoadBalancer.Ingress = append(out.Status.LoadBalancer.Ingress, entry)
	}
	return out
}

func backendToV1(in networkingv1beta1.IngressBackend) networkingv1.IngressBackend {
	out := networkingv1.IngressBackend{Resource: in.Resource}
	if in.ServiceName == "" && in.ServicePort == (intstr.IntOrString{}) {
		return out
	}
	out.Service = &networkingv1.IngressServiceBackend{Name: in.ServiceName}
	if in.ServicePort.Type == intstr.String {
		out.Service.Port.Name = in.ServicePort.StrVal
	} else {
		out.Service.Port.Number = in.ServicePort.IntVal
	}
	return out
}

// ingressFromV1 is the inverse of ingressToV1.
func ingressFromV1(in *networkingv1.Ingress) *networkingv1beta1.Ingress {
	out := &networkingv1beta1.Ingress{ObjectMeta: in.ObjectMeta}
	out.SetGroupVersionKind(networkingv1beta1.SchemeGroupVersion.WithKind("Ingress"))
	out.Spec.IngressClassName = in.Spec.IngressClassName
	if in.Spec.DefaultBackend != nil {
		b := backendFromV1(*in.Spec.DefaultBackend)
		out.Spec.Backend = &b
	}
	for _, t := range in.Spec.TLS {
		out.Spec.TLS = append(out.Spec.TLS, networkingv1beta1.IngressTLS{Hosts: t.Hosts, SecretName: t.SecretName})
	}
	for _, r := range in.Spec.Rules {
		rule := networkingv1beta1.IngressRule{Host: r.Host}
		if r.HTTP != nil {
			rule.HTTP = &networkingv1beta1.HTTPIngressRuleValue{}
			for _, p := range r.HTTP.Paths {
				rule.HTTP.Paths = append(rule.HTTP.Paths, networkingv1beta1.HTTPIngressPath{
					Path: p.Path, PathType: (*networkingv1beta1.PathType)(p.PathType), Backend: backendFromV1(p.Backend)})
			}
		}
		out.Spec.Rules = append(out.Spec.Rules, rule)
	}
	for _, lb := range in.Status.LoadBalancer.Ingress {
		entry := networkingv1beta1.IngressLoadBalancerIngress{IP: lb.IP, Hostname: lb.Hostname}
		for _, p := range lb.Ports {
			entry.Ports = append(entry.Ports, networkingv1beta1.IngressPortStatus{Port: p.Port, Protocol: p.Protocol, Error: p.Error})
		}
		out.Status.LoadBalancer.Ingress = append(out.Status.LoadBalancer.Ingress, entry)
	}
	return out
}

func backendFromV1(in networkingv1.IngressBackend) networkingv1beta1.IngressBackend {
	out := networkingv1beta1.IngressBackend{Resource: in.Resource}
	if s := in.Service; s != nil {
		out.ServiceName = s.Name
		if s.Port.Name != "" {
			out.ServicePort = intstr.FromString(s.Port.Name)
		} else {
			out.ServicePort = intstr.FromInt32(s.Port.Number)
		}
	}
	return out
}

// ingressClassToV1 turns the removed beta shape into the stored one: field by field the same.
func ingressClassToV1(in *networkingv1beta1.IngressClass) *networkingv1.IngressClass {
	out := &networkingv1.IngressClass{ObjectMeta: in.ObjectMeta}
	out.SetGroupVersionKind(networkingv1.SchemeGroupVersion.WithKind("IngressClass"))
	out.Spec.Controller = in.Spec.Controller
	out.Spec.Parameters = (*networkingv1.IngressClassParametersReference)(in.Spec.Parameters)
	return out
}

// ingressClassFromV1 is the inverse of ingressClassToV1.
func ingressClassFromV1(in *networkingv1.IngressClass) *networkingv1beta1.IngressClass {
	out := &networkingv1beta1.IngressClass{ObjectMeta: in.ObjectMeta}
	out.SetGroupVersionKind(networkingv1beta1.SchemeGroupVersion.WithKind("IngressClass"))
	out.Spec.Controller = in.Spec.Controller
	out.Spec.Parameters = (*networkingv1beta1.IngressClassParametersReference)(in.Spec.Parameters)
	return out
}
