package core

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"nau/internal/api"
)

// persistentVolumeClaim declares the resource persistentvolumeclaims.
func persistentVolumeClaim() *api.Resource {
	return &api.Resource{
		Kind: "PersistentVolumeClaim", Plural: "persistentvolumeclaims", Singular: "persistentvolumeclaim",
		ShortNames: []string{"pvc"},
		Namespaced: true,
		Versions:   []api.Version{{Name: "v1", New: api.New[corev1.PersistentVolumeClaim](), NewList: api.New[corev1.PersistentVolumeClaimList]()}},
		Storage:    "v1",
		Prefix:     "persistentvolumeclaims",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name: apivalidation.NameIsDNSSubdomain,
			PrepareCreate: api.Each(func(n *corev1.PersistentVolumeClaim) {
				n.Status = corev1.PersistentVolumeClaimStatus{}
			}),
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
	}
}
