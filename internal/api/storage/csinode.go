package storage

import (
	storagev1 "k8s.io/api/storage/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"nau/internal/api"
)

// csiNode declares the resource csinodes.
func csiNode() *api.Resource {
	return &api.Resource{
		Group: "storage.k8s.io",
		Kind:  "CSINode", Plural: "csinodes", Singular: "csinode",
		Versions: []api.Version{{Name: "v1", New: api.New[storagev1.CSINode](), NewList: api.New[storagev1.CSINodeList]()}},
		Storage:  "v1",
		Prefix:   "csinodes",
		Verbs:    api.AllVerbs,
		Strategy: api.Strategy{
			Name:           apivalidation.NameIsDNSSubdomain,
			Validate:       api.Check(validateCSINode),
			ValidateUpdate: api.CheckChange(validateCSINodeUpdate),
		},
		Columns: csiNodeColumns(),
	}
}
