package networking

import (
	networkingv1 "k8s.io/api/networking/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"nau/internal/api"
)

// serviceCIDR declares the resource servicecidrs.
func serviceCIDR() *api.Resource {
	return &api.Resource{
		Group: "networking.k8s.io",
		Kind:  "ServiceCIDR", Plural: "servicecidrs", Singular: "servicecidr",
		Versions: []api.Version{{Name: "v1", New: api.New[networkingv1.ServiceCIDR](), NewList: api.New[networkingv1.ServiceCIDRList]()}},
		Storage:  "v1",
		Prefix:   "servicecidrs",
		Verbs:    api.AllVerbs,
		Strategy: api.Strategy{
			Name:           apivalidation.NameIsDNSSubdomain,
			Validate:       api.Check(validateServiceCIDR),
			ValidateUpdate: api.CheckChange(validateServiceCIDRUpdate),
			PrepareCreate: api.Each(func(n *networkingv1.ServiceCIDR) {
				n.Status = networkingv1.ServiceCIDRStatus{}
			}),
			PrepareUpdate: api.Change(func(n, o *networkingv1.ServiceCIDR) {
				n.Status = o.Status
			}),
			ResetFields:         [][]string{{"status"}},
			UnconditionalUpdate: true,
		},
		Subresources: []api.Subresource{
			{Name: "status", Kind: "ServiceCIDR", Verbs: api.StatusVerbs, New: api.New[networkingv1.ServiceCIDR](),
				PrepareUpdate: api.Change(func(n, o *networkingv1.ServiceCIDR) { n.Spec = o.Spec }),
				ResetFields:   [][]string{{"spec"}}},
		},
		Columns: serviceCIDRColumns(),
	}
}
