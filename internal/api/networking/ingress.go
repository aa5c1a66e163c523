package networking

import (
	networkingv1 "k8s.io/api/networking/v1"
	networkingv1beta1 "k8s.io/api/networking/v1beta1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"nau/internal/api"
	"nau/internal/api/meta"
)

// ingress declares the resource ingresses.
func ingress() *api.Resource {
	return &api.Resource{
		Group: "networking.k8s.io",
		Kind:  "Ingress", Plural: "ingresses", Singular: "ingress",
		ShortNames: []string{"ing"},
		Namespaced: true,
		Versions: []api.Version{
			{Name: "v1", New: api.New[networkingv1.Ingress](), NewList: api.New[networkingv1.IngressList]()},
			{Name: "v1beta1", New: api.New[networkingv1beta1.Ingress](), NewList: api.New[networkingv1beta1.IngressList](),
				Default: api.Each(defaultIngressV1beta1), ToStorage: api.Convert(ingressToV1), FromStorage: api.Convert(ingressFromV1),
				Deprecation: "networking.k8s.io/v1beta1 Ingress is deprecated in v1.19+, unavailable in v1.22+; use networking.k8s.io/v1 Ingress"},
		},
		Storage: "v1",
		Prefix:  "ingress",
		Verbs:   api.AllVerbs,
		Strategy: api.Strategy{
			Name:           apivalidation.NameIsDNSSubdomain,
			Validate:       api.Check(validateIngress),
			ValidateUpdate: api.CheckChange(validateIngressUpdate),
			Warnings:       api.Warn(ingressWarnings),
			PrepareCreate: api.Each(func(n *networkingv1.Ingress) {
				n.Status = networkingv1.IngressStatus{}
				n.Generation = 1
			}),
			PrepareUpdate: api.Change(func(n, o *networkingv1.Ingress) {
				n.Status = o.Status
				meta.BumpGeneration(n, o, n.Spec, o.Spec)
			}),
			ResetFields:         [][]string{{"status"}},
			UnconditionalUpdate: true,
		},
		Subresources: []api.Subresource{
			{Name: "status", Kind: "Ingress", Verbs: api.StatusVerbs, New: api.New[networkingv1.Ingress](),
				PrepareUpdate:  api.Change(func(n, o *networkingv1.Ingress) { n.Spec = o.Spec }),
				ValidateUpdate: api.CheckChange(validateIngressStatus),
				ResetFields:    [][]string{{"spec"}}},
		},
		Columns: ingressColumns(),
	}
}
