package storage

import (
	storagev1 "k8s.io/api/storage/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"nau/internal/api"
	"nau/internal/api/meta"
)

// csiDriver declares the resource csidrivers.
func csiDriver() *api.Resource {
	return &api.Resource{
		Group: "storage.k8s.io",
		Kind:  "CSIDriver", Plural: "csidrivers", Singular: "csidriver",
		Versions: []api.Version{{Name: "v1", New: api.New[storagev1.CSIDriver](), NewList: api.New[storagev1.CSIDriverList](), Default: api.Each(DefaultDriver)}},
		Storage:  "v1",
		Prefix:   "csidrivers",
		Verbs:    api.AllVerbs,
		Strategy: api.Strategy{
			Name:           apivalidation.NameIsDNSSubdomain,
			Validate:       api.Check(validateDriver),
			ValidateUpdate: api.CheckChange(validateDriverUpdate),
			PrepareCreate:  api.Each(func(n *storagev1.CSIDriver) { n.Generation = 1 }),
			PrepareUpdate:  api.Change(func(n, o *storagev1.CSIDriver) { meta.BumpGeneration(n, o, n.Spec, o.Spec) }),
		},
		Columns: driverColumns(),
	}
}
