package resource

import (
	resourcev1 "k8s.io/api/resource/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"

	"nau/internal/api"
	"nau/internal/api/meta"
)

// resourceSlice declares the resource resourceslices.
func resourceSlice() *api.Resource {
	return &api.Resource{
		Group: "resource.k8s.io",
		Kind:  "ResourceSlice", Plural: "resourceslices", Singular: "resourceslice",
		Versions: []api.Version{{Name: "v1", New: api.New[resourcev1.ResourceSlice](), NewList: api.New[resourcev1.ResourceSliceList]()}},
		Storage:  "v1",
		Prefix:   "resourceslices",
		Verbs:    api.AllVerbs,
		Strategy: api.Strategy{
			Name:                apivalidation.NameIsDNSSubdomain,
			Validate:            api.Check(validateSlice),
			ValidateUpdate:      api.CheckChange(validateSliceUpdate),
			PrepareCreate:       api.Each(func(n *resourcev1.ResourceSlice) { n.Generation = 1 }),
			PrepareUpdate:       api.Change(func(n, o *resourcev1.ResourceSlice) { meta.BumpGeneration(n, o, n.Spec, o.Spec) }),
			UnconditionalUpdate: true,
		},
		Columns: sliceColumns(),
		Fields:  func(o runtime.Object) fields.Set { return sliceFields(o.(*resourcev1.ResourceSlice)) },
	}
}
