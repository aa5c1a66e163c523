package storage

import (
	storagev1 "k8s.io/api/storage/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"nau/internal/api"
)

// csiStorageCapacity declares the resource csistoragecapacities.
func csiStorageCapacity() *api.Resource {
	return &api.Resource{
		Group: "storage.k8s.io",
		Kind:  "CSIStorageCapacity", Plural: "csistoragecapacities", Singular: "csistoragecapacity",
		Namespaced: true,
		Versions:   []api.Version{{Name: "v1", New: api.New[storagev1.CSIStorageCapacity](), NewList: api.New[storagev1.CSIStorageCapacityList]()}},
		Storage:    "v1",
		Prefix:     "csistoragecapacities",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name:           apivalidation.NameIsDNSSubdomain,
			Validate:       api.Check(validateCapacity),
			ValidateUpdate: api.CheckChange(validateCapacityUpdate),
		},
		Columns: capacityColumns(),
	}
}
