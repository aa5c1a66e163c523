package discovery

import (
	discoveryv1 "k8s.io/api/discovery/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nau/internal/api"
	"nau/internal/api/meta"
)

// endpointSlice declares the resource endpointslices.
func endpointSlice() *api.Resource {
	return &api.Resource{
		Group: "discovery.k8s.io",
		Kind:  "EndpointSlice", Plural: "endpointslices", Singular: "endpointslice",
		Namespaced: true,
		Versions:   []api.Version{{Name: "v1", New: api.New[discoveryv1.EndpointSlice](), NewList: api.New[discoveryv1.EndpointSliceList](), Default: api.Each(DefaultEndpointSlice)}},
		Storage:    "v1",
		Prefix:     "endpointslices",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name:           apivalidation.NameIsDNSSubdomain,
			Validate:       api.Check(validateSlice),
			ValidateUpdate: api.CheckChange(validateSliceUpdate),
			PrepareCreate:  api.Each(func(n *discoveryv1.EndpointSlice) { n.Generation = 1 }),
			PrepareUpdate: api.Change(func(n, o *discoveryv1.EndpointSlice) {
				meta.BumpGeneration(n, o, endpointSliceBody(n), endpointSliceBody(o))
			}),
			UnconditionalUpdate: true,
		},
		Columns: sliceColumns(),
	}
}

// endpointSliceBody is what counts for the generation: everything but type and metadata.
func endpointSliceBody(s *discoveryv1.EndpointSlice) *discoveryv1.EndpointSlice {
	body := *s
	body.TypeMeta, body.ObjectMeta = metav1.TypeMeta{}, metav1.ObjectMeta{}
	return &body
}
