package storage

import (
	storagev1 "k8s.io/api/storage/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"nau/internal/api"
)

// storageClass declares the resource storageclasses.
func storageClass() *api.Resource {
	return &api.Resource{
		Group: "storage.k8s.io",
		Kind:  "StorageClass", Plural: "storageclasses", Singular: "storageclass",
		ShortNames: []string{"sc"},
		Versions:   []api.Version{{Name: "v1", New: api.New[storagev1.StorageClass](), NewList: api.New[storagev1.StorageClassList](), Default: api.Each(DefaultClass)}},
		Storage:    "v1",
		Prefix:     "storageclasses",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name:                apivalidation.NameIsDNSSubdomain,
			Validate:            api.Check(validateClass),
			ValidateUpdate:      api.CheckChange(validateClassUpdate),
			UnconditionalUpdate: true,
		},
		Columns: classColumns(),
	}
}
