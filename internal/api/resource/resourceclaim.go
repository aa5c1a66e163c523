package resource

import (
	resourcev1 "k8s.io/api/resource/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"nau/internal/api"
)

// resourceClaim declares the resource resourceclaims.
func resourceClaim() *api.Resource {
	return &api.Resource{
		Group: "resource.k8s.io",
		Kind:  "ResourceClaim", Plural: "resourceclaims", Singular: "resourceclaim",
		Namespaced: true,
		Versions:   []api.Version{{Name: "v1", New: api.New[resourcev1.ResourceClaim](), NewList: api.New[resourcev1.ResourceClaimList](), Default: api.Each(DefaultClaim)}},
		Storage:    "v1",
		Prefix:     "resourceclaims",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name:           apivalidation.NameIsDNSSubdomain,
			Validate:       api.Check(validateClaim),
			ValidateUpdate: api.CheckChange(validateClaimUpdate),
			PrepareCreate: api.Each(func(n *resourcev1.ResourceClaim) {
				n.Status = resourcev1.ResourceClaimStatus{}
			}),
			PrepareUpdate: api.Change(func(n, o *resourcev1.ResourceClaim) {
				n.Status = o.Status
			}),
			ResetFields:         [][]string{{"status"}},
			UnconditionalUpdate: true,
		},
		Subresources: []api.Subresource{
			{Name: "status", Kind: "ResourceClaim", Verbs: api.StatusVerbs, New: api.New[resourcev1.ResourceClaim](),
				PrepareUpdate:  api.Change(func(n, o *resourcev1.ResourceClaim) { n.Spec = o.Spec }),
				ValidateUpdate: api.CheckChange(validateClaimStatus),
				ResetFields:    [][]string{{"spec"}}},
		},
		Columns: claimColumns(),
	}
}
