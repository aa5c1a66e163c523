package core

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"nau/internal/api"
	"nau/internal/api/meta"
)

// podTemplate declares the resource podtemplates.
func podTemplate() *api.Resource {
	return &api.Resource{
		Kind: "PodTemplate", Plural: "podtemplates", Singular: "podtemplate",
		Namespaced: true,
		Versions:   []api.Version{{Name: "v1", New: api.New[corev1.PodTemplate](), NewList: api.New[corev1.PodTemplateList](), Default: api.Each(defaultPodTemplateObject)}},
		Storage:    "v1",
		Prefix:     "podtemplates",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name:                apivalidation.NameIsDNSSubdomain,
			Validate:            api.Check(validatePodTemplateObject),
			PrepareCreate:       api.Each(func(n *corev1.PodTemplate) { n.Generation = 1 }),
			PrepareUpdate:       api.Change(func(n, o *corev1.PodTemplate) { meta.BumpGeneration(n, o, n.Template, o.Template) }),
			UnconditionalUpdate: true,
		},
		Columns: podTemplateColumns(),
	}
}
