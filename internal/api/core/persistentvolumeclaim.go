package core

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"

	"nau/internal/api"
)

// persistentVolumeClaim declares the resource persistentvolumeclaims.
func persistentVolumeClaim() *api.Resource {
	return &api.Resource{
		Kind: "PersistentVolumeClaim", Plural: "persistentvolumeclaims", Singular: "persistentvolumeclaim",
		ShortNames: []string{"pvc"},
		Namespaced: true,
		Versions:   []api.Version{{Name: "v1", New: api.New[corev1.PersistentVolumeClaim](), NewList: api.New[corev1.PersistentVolumeClaimList](), Default: api.Each(DefaultClaim)}},
		Storage:    "v1",
		Prefix:     "persistentvolumeclaims",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name:           apivalidation.NameIsDNSSubdomain,
			PrepareCreate:  api.Each(prepareClaim),
			Validate:       api.Check(validateClaim),
			ValidateUpdate: api.CheckChange(validateClaimUpdate),
			PrepareUpdate: api.Change(func(n, o *corev1.PersistentVolumeClaim) {
				n.Status = o.Status
			}),
			ResetFields:         [][]string{{"status"}},
			UnconditionalUpdate: true,
		},
		Subresources: []api.Subresource{
			{Name: "status", Kind: "PersistentVolumeClaim", Verbs: api.StatusVerbs, New: api.New[corev1.PersistentVolumeClaim](),
				PrepareUpdate: api.Change(func(n, o *corev1.PersistentVolumeClaim) { n.Spec = o.Spec }),
				ResetFields:   [][]string{{"spec"}}},
		},
		Columns: claimColumns(),
		Fields:  func(o runtime.Object) fields.Set { return claimFields(o.(*corev1.PersistentVolumeClaim)) },
	}
}
