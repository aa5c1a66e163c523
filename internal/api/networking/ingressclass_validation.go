package networking

import (
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"nau/internal/api/meta"
)

func validateIngressClass(c *networkingv1.IngressClass) field.ErrorList {
	p, s := field.NewPath("spec"), &c.Spec
	var errs field.ErrorList
	if len(s.Controller) > 250 {
		errs = append(errs, field.TooLong(p.Child("controller"), "", 250))
	}
	errs = append(errs, validation.IsDomainPrefixedPath(p.Child("controller"), s.Controller)...)
	r := s.Parameters
	if r == nil {
		return errs
	}
	at := p.Child("parameters")
	errs = append(errs, meta.Required(at.Child("kind"), r.Kind)...)
	errs = append(errs, meta.Required(at.Child("name"), r.Name)...)
	if g := ptr.Deref(r.APIGroup, ""); g != "" {
		errs = append(errs, meta.DNSSubdomain(at.Child("apiGroup"), g)...)
	}
	scope := ptr.Deref(r.Scope, "")
	errs = append(errs, meta.OneOf(at.Child("scope"), scope, networkingv1.IngressClassParametersReferenceScopeCluster, networkingv1.IngressClassParametersReferenceScopeNamespace)...)
	namespace := ptr.Deref(r.Namespace, "")
	switch {
	case scope == networkingv1.IngressClassParametersReferenceScopeNamespace && namespace == "":
		errs = append(errs, field.Required(at.Child("namespace"), "`parameters.scope` is set to 'Namespace'"))
	case scope == networkingv1.IngressClassParametersReferenceScopeCluster && r.Namespace != nil:
		errs = append(errs, field.Forbidden(at.Child("namespace"), "`parameters.scope` is set to 'Cluster'"))
	case namespace != "":
		errs = append(errs, meta.DNSLabel(at.Child("namespace"), namespace)...)
	}
	return errs
}

func validateIngressClassUpdate(new, old *networkingv1.IngressClass) field.ErrorList {
	return append(validateIngressClass(new), meta.Immutable(field.NewPath("spec", "controller"), new.Spec.Controller, old.Spec.Controller)...)
}
