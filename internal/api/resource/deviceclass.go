package resource

import (
	resourcev1 "k8s.io/api/resource/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"nau/internal/api"
	"nau/internal/api/meta"
)

// deviceClass declares the resource deviceclasses.
func deviceClass() *api.Resource {
	return &api.Resource{
		Group: "resource.k8s.io",
		Kind:  "DeviceClass", Plural: "deviceclasses", Singular: "deviceclass",
		Versions: []api.Version{{Name: "v1", New: api.New[resourcev1.DeviceClass](), NewList: api.New[resourcev1.DeviceClassList]()}},
		Storage:  "v1",
		Prefix:   "deviceclasses",
		Verbs:    api.AllVerbs,
		Strategy: api.Strategy{
			Name:                apivalidation.NameIsDNSSubdomain,
			Validate:            api.Check(validateDeviceClass),
			PrepareCreate:       api.Each(func(n *resourcev1.DeviceClass) { n.Generation = 1 }),
			PrepareUpdate:       api.Change(func(n, o *resourcev1.DeviceClass) { meta.BumpGeneration(n, o, n.Spec, o.Spec) }),
			UnconditionalUpdate: true,
		},
	}
}
