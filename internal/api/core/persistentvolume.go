package core

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"

	"nau/internal/api"
)

// persistentVolume declares the resource persistentvolumes.
func persistentVolume() *api.Resource {
	return &api.Resource{
		Kind: "PersistentVolume", Plural: "persistentvolumes", Singular: "persistentvolume",
		ShortNames: []string{"pv"},
		Versions:   []api.Version{{Name: "v1", New: api.New[corev1.PersistentVolume](), NewList: api.New[corev1.PersistentVolumeList](), Default: api.Each(DefaultVolume)}},
		Storage:    "v1",
		Prefix:     "persistentvolumes",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name:           apivalidation.NameIsDNSSubdomain,
			PrepareCreate:  api.Each(prepareVolume),
			Validate:       api.Check(validateVolumeObject),
			ValidateUpdate: api.CheckChange(validateVolumeObjectUpdate),
			PrepareUpdate: api.Change(func(n, o *corev1.PersistentVolume) {
				n.Status = o.Status
			}),
			ResetFields:         [][]string{{"status"}},
			UnconditionalUpdate: true,
		},
		Subresources: []api.Subresource{
			{Name: "status", Kind: "PersistentVolume", Verbs: api.StatusVerbs, New: api.New[corev1.PersistentVolume](),
				PrepareUpdate: api.Change(func(n, o *corev1.PersistentVolume) { n.Spec = o.Spec }),
				ResetFields:   [][]string{{"spec"}}},
		},
		Columns: volumeColumns(),
		Fields:  func(o runtime.Object) fields.Set { return volumeFields(o.(*corev1.PersistentVolume)) },
	}
}
