package core

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"nau/internal/api"
)

// endpoints declares the resource endpoints.
func endpoints() *api.Resource {
	return &api.Resource{
		Kind: "Endpoints", Plural: "endpoints", Singular: "endpoints",
		ShortNames: []string{"ep"},
		Namespaced: true,
		Versions: []api.Version{{Name: "v1", New: api.New[corev1.Endpoints](), NewList: api.New[corev1.EndpointsList](), Default: api.Each(defaultEndpoints),
			Deprecation: "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"}},
		Storage: "v1",
		Prefix:  "services/endpoints",
		Verbs:   api.AllVerbs,
		Strategy: api.Strategy{
			Name:                apivalidation.NameIsDNSSubdomain,
			Validate:            api.Check(validateEndpoints),
			CreateOnUpdate:      true,
			UnconditionalUpdate: true,
		},
		Columns: endpointsColumns(),
	}
}
