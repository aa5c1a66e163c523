package networking

import (
	"fmt"
	"net/netip"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nau/internal/api/meta"
)

const ingressClassAnnotation = "kubernetes.io/ingress.class"

func validateIngress(in *networkingv1.Ingress) field.ErrorList {
	errs := validateIngressSpec(in)
	if class, annotated := in.Annotations[ingressClassAnnotation]; annotated && in.Spec.IngressClassName != nil {
		errs = append(errs, field.Invalid(field.NewPath("annotations").Child(ingressClassAnnotation), class, "can not be set when the class field is also set"))
	}
	return errs
}

func validateIngressUpdate(new, _ *networkingv1.Ingress) field.ErrorList {
	return validateIngressSpec(new)
}

func validateIngressSpec(in *networkingv1.Ingress) field.ErrorList {
	p, s := field.NewPath("spec"), &in.Spec
	var errs field.ErrorList
	if len(s.Rules) == 0 && s.DefaultBackend == nil {
		errs = append(errs, field.Invalid(p, s.Rules, "either `defaultBackend` or `rules` must be specified"))
	}
	if s.DefaultBackend != nil {
		errs = append(errs, validateBackend(p.Child("defaultBackend"), s.DefaultBackend)...)
	}
	for i, r := range s.Rules {
		at := p.Child("rules").Index(i)
		wildcard := strings.Contains(r.Host, "*")
		if r.Host != "" {
			if _, err := netip.ParseAddr(r.Host); err == nil {
				errs = append(errs, field.Invalid(at.Child("host"), r.Host, "must be a DNS name, not an IP address"))
			}
			if wildcard {
				errs = append(errs, meta.Invalid(at.Child("host"), r.Host, validation.IsWildcardDNS1123Subdomain(r.Host))...)
			} else {
				errs = append(errs, meta.DNSSubdomain(at.Child("host"), r.Host)...)
			}
		}
		if r.HTTP == nil {
			continue
		}
		paths := at.Child("http", "paths")
		if len(r.HTTP.Paths) == 0 {
			errs = append(errs, field.Required(paths, ""))
		}
		for j := range r.HTTP.Paths {
			errs = append(errs, validatePath(paths.Index(j), &r.HTTP.Paths[j])...)
		}
	}
	for i, t := range s.TLS {
		for j, h := range t.Hosts {
			at := p.Child("tls").Index(i).Child("hosts").Index(j)
			if strings.Contains(h, "*") {
				errs = append(errs, meta.Invalid(at, h, validation.IsWildcardDNS1123Subdomain(h))...)
			} else {
				errs = append(errs, meta.DNSSubdomain(at, h)...)
			}
		}
		if t.SecretName != "" {
			errs = append(errs, meta.DNSSubdomain(p.Child("tls").Index(i).Child("secretName"), t.SecretName)...)
		}
	}
	if s.IngressClassName != nil {
		errs = append(errs, meta.DNSSubdomain(p.Child("ingressClassName"), *s.IngressClassName)...)
	}
	return errs
}

var (
	badSequences = []string{"//", "/./", "/../", "%2f", "%2F"}
	badSuffixes  = []string{"/..", "/."}
)

func validatePath(p *field.Path, h *networkingv1.HTTPIngressPath) field.ErrorList {
	var errs field.ErrorList
	at := p.Child("path")
	types := []networkingv1.PathType{networkingv1.PathTypeExact, networkingv1.PathTypeImplementationSpecific, networkingv1.PathTypePrefix}
	if h.PathType == nil {
		errs = append(errs, field.Required(p.Child("pathType"), "pathType must be specified"))
	} else {
		switch *h.PathType {
		case networkingv1.PathTypeExact, networkingv1.PathTypePrefix:
			if !strings.HasPrefix(h.Path, "/") {
				errs = append(errs, field.Invalid(at, h.Path, "must be an absolute path"))
			}
			for _, bad := range badSequences {
				if strings.Contains(h.Path, bad) {
					errs = append(errs, field.Invalid(at, h.Path, fmt.Sprintf("must not contain '%s'", bad)))
				}
			}
			for _, bad := range badSuffixes {
				if strings.HasSuffix(h.Path, bad) {
					errs = append(errs, field.Invalid(at, h.Path, fmt.Sprintf("cannot end with '%s'", bad)))
				}
			}
		case networkingv1.PathTypeImplementationSpecific:
			if h.Path != "" && !strings.HasPrefix(h.Path, "/") {
				errs = append(errs, field.Invalid(at, h.Path, "must be an absolute path"))
			}
		default:
			errs = append(errs, field.NotSupported(p.Child("pathType"), *h.PathType, types))
		}
	}
	return append(errs, validateBackend(p.Child("backend"), &h.Backend)...)
}

func validateBackend(p *field.Path, b *networkingv1.IngressBackend) field.ErrorList {
	switch {
	case b.Resource != nil && b.Service != nil:
		return field.ErrorList{field.Invalid(p, "", "cannot set both resource and service backends")}
	case b.Resource != nil:
		errs := meta.Required(p.Child("resource", "kind"), b.Resource.Kind)
		errs = append(errs, meta.Required(p.Child("resource", "name"), b.Resource.Name)...)
		if b.Resource.APIGroup != nil && *b.Resource.APIGroup != "" {
			errs = append(errs, meta.DNSSubdomain(p.Child("resource", "apiGroup"), *b.Resource.APIGroup)...)
		}
		return errs
	case b.Service == nil:
		return field.ErrorList{field.Required(p, "must specify either a resource or service backend")}
	}
	at := p.Child("service")
	var errs field.ErrorList
	if b.Service.Name == "" {
		errs = append(errs, field.Required(at.Child("name"), ""))
	} else {
		errs = append(errs, meta.Invalid(at.Child("name"), b.Service.Name, validation.IsDNS1035Label(b.Service.Name))...)
	}
	port := b.Service.Port
	switch {
	case port.Name != "" && port.Number != 0:
		errs = append(errs, field.Invalid(p, "", "cannot set both port name & port number"))
	case port.Name != "":
		errs = append(errs, meta.Invalid(at.Child("port", "name"), port.Name, validation.IsValidPortName(port.Name))...)
	case port.Number != 0:
		errs = append(errs, meta.Port(at.Child("port", "number"), port.Number)...)
	default:
		errs = append(errs, field.Required(p, "port name or number is required"))
	}
	return errs
}

func validateIngressStatus(new, _ *networkingv1.Ingress) field.ErrorList {
	var errs field.ErrorList
	for i, in := range new.Status.LoadBalancer.Ingress {
		at := field.NewPath("status", "loadBalancer", "ingress").Index(i)
		if in.IP != "" {
			errs = append(errs, validation.IsValidIPForLegacyField(at.Child("ip"), in.IP, false, nil)...)
		}
		if in.Hostname != "" {
			errs = append(errs, meta.DNSSubdomain(at.Child("hostname"), in.Hostname)...)
		}
	}
	return errs
}

func ingressWarnings(new, old *networkingv1.Ingress) []string {
	if old != nil {
		return nil
	}
	if class, annotated := new.Annotations[ingressClassAnnotation]; annotated && class != "" {
		return []string{"annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead"}
	}
	return nil
}
