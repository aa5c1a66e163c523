package storage

import (
	storagev1 "k8s.io/api/storage/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"nau/internal/api"
)

// volumeAttributesClass declares the resource volumeattributesclasses.
func volumeAttributesClass() *api.Resource {
	return &api.Resource{
		Group: "storage.k8s.io",
		Kind:  "VolumeAttributesClass", Plural: "volumeattributesclasses", Singular: "volumeattributesclass",
		ShortNames: []string{"vac"},
		Versions:   []api.Version{{Name: "v1", New: api.New[storagev1.VolumeAttributesClass](), NewList: api.New[storagev1.VolumeAttributesClassList]()}},
		Storage:    "v1",
		Prefix:     "volumeattributesclasses",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name:                apivalidation.NameIsDNSSubdomain,
			Validate:            api.Check(validateAttributesClass),
			ValidateUpdate:      api.CheckChange(validateAttributesClassUpdate),
			UnconditionalUpdate: true,
		},
		Columns: attributesClassColumns(),
	}
}
