package networking

import (
	networkingv1 "k8s.io/api/networking/v1"
	networkingv1beta1 "k8s.io/api/networking/v1beta1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"nau/internal/api"
	"nau/internal/api/meta"
)

// ingressClass declares the resource ingressclasses.
func ingressClass() *api.Resource {
	return &api.Resource{
		Group: "networking.k8s.io",
		Kind:  "IngressClass", Plural: "ingressclasses", Singular: "ingressclass",
		Versions: []api.Version{
			{Name: "v1", New: api.New[networkingv1.IngressClass](), NewList: api.New[networkingv1.IngressClassList](), Default: api.Each(DefaultIngressClass)},
			{Name: "v1beta1", New: api.New[networkingv1beta1.IngressClass](), NewList: api.New[networkingv1beta1.IngressClassList](),
				Default: api.Each(defaultIngressClassV1beta1), ToStorage: api.Convert(ingressClassToV1), FromStorage: api.Convert(ingressClassFromV1),
				Deprecation: "networking.k8s.io/v1beta1 IngressClass is deprecated in v1.19+, unavailable in v1.22+; use networking.k8s.io/v1 IngressClass"},
		},
		Storage: "v1",
		Prefix:  "ingressclasses",
		Verbs:   api.AllVerbs,
		Strategy: api.Strategy{
			Name:                apivalidation.NameIsDNSSubdomain,
			Validate:            api.Check(validateIngressClass),
			ValidateUpdate:      api.CheckChange(validateIngressClassUpdate),
			PrepareCreate:       api.Each(func(n *networkingv1.IngressClass) { n.Generation = 1 }),
			PrepareUpdate:       api.Change(func(n, o *networkingv1.IngressClass) { meta.BumpGeneration(n, o, n.Spec, o.Spec) }),
			UnconditionalUpdate: true,
		},
		Columns: ingressClassColumns(),
	}
}
