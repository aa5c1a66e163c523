package resource

import (
	resourcev1 "k8s.io/api/resource/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"nau/internal/api"
)

// resourceClaimTemplate declares the resource resourceclaimtemplates.
func resourceClaimTemplate() *api.Resource {
	return &api.Resource{
		Group: "resource.k8s.io",
		Kind:  "ResourceClaimTemplate", Plural: "resourceclaimtemplates", Singular: "resourceclaimtemplate",
		Namespaced: true,
		Versions:   []api.Version{{Name: "v1", New: api.New[resourcev1.ResourceClaimTemplate](), NewList: api.New[resourcev1.ResourceClaimTemplateList](), Default: api.Each(DefaultClaimTemplate)}},
		Storage:    "v1",
		Prefix:     "resourceclaimtemplates",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name:                apivalidation.NameIsDNSSubdomain,
			Validate:            api.Check(validateClaimTemplate),
			ValidateUpdate:      api.CheckChange(validateClaimTemplateUpdate),
			UnconditionalUpdate: true,
		},
	}
}
