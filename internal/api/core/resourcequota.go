package core

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"nau/internal/api"
)

// resourceQuota declares the resource resourcequotas.
func resourceQuota() *api.Resource {
	return &api.Resource{
		Kind: "ResourceQuota", Plural: "resourcequotas", Singular: "resourcequota",
		ShortNames: []string{"quota"},
		Namespaced: true,
		Versions:   []api.Version{{Name: "v1", New: api.New[corev1.ResourceQuota](), NewList: api.New[corev1.ResourceQuotaList](), Default: api.Each(defaultQuota)}},
		Storage:    "v1",
		Prefix:     "resourcequotas",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name:           apivalidation.NameIsDNSSubdomain,
			Validate:       api.Check(validateQuota),
			ValidateUpdate: api.CheckChange(validateQuotaUpdate),
			PrepareCreate: api.Each(func(n *corev1.ResourceQuota) {
				n.Status = corev1.ResourceQuotaStatus{}
			}),
			PrepareUpdate: api.Change(func(n, o *corev1.ResourceQuota) {
				n.Status = o.Status
			}),
			ResetFields:         [][]string{{"status"}},
			UnconditionalUpdate: true,
		},
		Subresources: []api.Subresource{
			{Name: "status", Kind: "ResourceQuota", Verbs: api.StatusVerbs, New: api.New[corev1.ResourceQuota](),
				PrepareUpdate:  api.Change(func(n, o *corev1.ResourceQuota) { n.Spec = o.Spec }),
				ValidateUpdate: api.CheckChange(validateQuotaStatus),
				ResetFields:    [][]string{{"spec"}}},
		},
		Columns: quotaColumns(),
	}
}
