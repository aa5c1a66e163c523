package core

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"nau/internal/api"
)

// namespace declares the resource namespaces.
func namespace() *api.Resource {
	return &api.Resource{
		Kind: "Namespace", Plural: "namespaces", Singular: "namespace",
		ShortNames: []string{"ns"},
		Versions:   []api.Version{{Name: "v1", New: api.New[corev1.Namespace](), NewList: api.New[corev1.NamespaceList]()}},
		Storage:    "v1",
		Prefix:     "namespaces",
		Verbs:      []string{"create", "delete", "get", "list", "patch", "update", "watch"},
		Strategy: api.Strategy{
			Name: apivalidation.NameIsDNSLabel,
			PrepareCreate: api.Each(func(n *corev1.Namespace) {
				n.Status = corev1.NamespaceStatus{}
			}),
			PrepareUpdate: api.Change(func(n, o *corev1.Namespace) {
				n.Status = o.Status
			}),
			ResetFields:         [][]string{{"status"}},
			UnconditionalUpdate: true,
		},
		Subresources: []api.Subresource{
			{Name: "status", Kind: "Namespace", Verbs: api.StatusVerbs, New: api.New[corev1.Namespace](),
				PrepareUpdate: api.Change(func(n, o *corev1.Namespace) { n.Spec = o.Spec }),
				ResetFields:   [][]string{{"spec"}}},
			{Name: "finalize", Kind: "Namespace", Verbs: []string{"update"}, New: api.New[corev1.Namespace](),
				PrepareUpdate: api.Change(func(n, o *corev1.Namespace) { n.Status = o.Status }),
				ResetFields:   [][]string{{"status"}}},
		},
	}
}
