package core

import (
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	corev1 "k8s.io/api/core/v1"

	"nau/internal/api/meta"
)

func validateEndpoints(e *corev1.Endpoints) field.ErrorList {
	var errs field.ErrorList
	for i, s := range e.Subsets {
		p := field.NewPath("subsets").Index(i)
		if len(s.Addresses) == 0 && len(s.NotReadyAddresses) == 0 {
			errs = append(errs, field.Required(p, "must specify `addresses` or `notReadyAddresses`"))
		}
		for j, a := range s.Addresses {
			errs = append(errs, validateEndpointAddress(p.Child("addresses").Index(j), a)...)
		}
		for j, a := range s.NotReadyAddresses {
			errs = append(errs, validateEndpointAddress(p.Child("notReadyAddresses").Index(j), a)...)
		}
		for j, port := range s.Ports {
			at := p.Child("ports").Index(j)
			if port.Name == "" {
				if len(s.Ports) > 1 {
					errs = append(errs, field.Required(at.Child("name"), ""))
				}
			} else {
				errs = append(errs, meta.DNSLabel(at.Child("name"), port.Name)...)
			}
			errs = append(errs, meta.Port(at.Child("port"), port.Port)...)
			errs = append(errs, validateProtocol(at.Child("protocol"), port.Protocol)...)
			if port.AppProtocol != nil {
				errs = append(errs, meta.QualifiedName(at.Child("appProtocol"), *port.AppProtocol)...)
			}
		}
	}
	return errs
}

func validateEndpointAddress(p *field.Path, a corev1.EndpointAddress) field.ErrorList {
	errs := validation.IsValidIPForLegacyField(p.Child("ip"), a.IP, false, nil)
	if a.Hostname != "" {
		errs = append(errs, meta.DNSLabel(p.Child("hostname"), a.Hostname)...)
	}
	if a.NodeName != nil {
		errs = append(errs, meta.DNSSubdomain(p.Child("nodeName"), *a.NodeName)...)
	}
	return append(errs, validateNonSpecialIP(p.Child("ip"), a.IP)...)
}
