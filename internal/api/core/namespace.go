package core

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"

	"nau/internal/api"
)

// namespace declares the resource namespaces.
func namespace() *api.Resource {
	return &api.Resource{
		Kind: "Namespace", Plural: "namespaces", Singular: "namespace",
		ShortNames: []string{"ns"},
		Versions:   []api.Version{{Name: "v1", New: api.New[corev1.Namespace](), NewList: api.New[corev1.NamespaceList](), Default: api.Each(defaultNamespace)}},
		Storage:    "v1",
		Prefix:     "namespaces",
		Verbs:      []string{"create", "delete", "get", "list", "patch", "update", "watch"},
		Strategy: api.Strategy{
			Name:                apivalidation.NameIsDNSLabel,
			PrepareCreate:       api.Each(prepareNamespace),
			PrepareUpdate:       api.Change(prepareNamespaceUpdate),
			Validate:            api.Check(validateNamespace),
			ResetFields:         [][]string{{"status"}},
			UnconditionalUpdate: true,
		},
		Subresources: []api.Subresource{
			{Name: "status", Kind: "Namespace", Verbs: api.StatusVerbs, New: api.New[corev1.Namespace](),
				PrepareUpdate:  api.Change(func(n, o *corev1.Namespace) { n.Spec = o.Spec }),
				ValidateUpdate: api.CheckChange(validateNamespaceStatus),
				ResetFields:    [][]string{{"spec"}}},
			{Name: "finalize", Kind: "Namespace", Verbs: []string{"update"}, New: api.New[corev1.Namespace](),
				PrepareUpdate: api.Change(func(n, o *corev1.Namespace) { n.Status = o.Status }),
				ResetFields:   [][]string{{"status"}}},
		},
		Columns: namespaceColumns(),
		Fields:  func(o runtime.Object) fields.Set { return namespaceFields(o.(*corev1.Namespace)) },
	}
}
