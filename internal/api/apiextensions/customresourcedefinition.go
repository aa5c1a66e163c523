package apiextensions

import (
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"nau/internal/api"
)

// customResourceDefinition declares the resource customresourcedefinitions.
func customResourceDefinition() *api.Resource {
	return &api.Resource{
		Group: "apiextensions.k8s.io",
		Kind:  "CustomResourceDefinition", Plural: "customresourcedefinitions", Singular: "customresourcedefinition",
		ShortNames: []string{"crd", "crds"},
		Categories: []string{"api-extensions"},
		Versions:   []api.Version{{Name: "v1", New: api.New[apiextensionsv1.CustomResourceDefinition](), NewList: api.New[apiextensionsv1.CustomResourceDefinitionList](), Default: api.Each(apiextensionsv1.SetObjectDefaults_CustomResourceDefinition)}},
		Storage:    "v1",
		Prefix:     "apiextensions.k8s.io/customresourcedefinitions",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name:           apivalidation.NameIsDNSSubdomain,
			PrepareCreate:  api.Each(prepare),
			PrepareUpdate:  api.Change(prepareUpdate),
			Validate:       api.Check(validate),
			ValidateUpdate: api.CheckChange(validateUpdate),
			ResetFields:    [][]string{{"status"}},
		},
		Subresources: []api.Subresource{
			{Name: "status", Kind: "CustomResourceDefinition", Verbs: api.StatusVerbs, New: api.New[apiextensionsv1.CustomResourceDefinition](),
				PrepareUpdate:  api.Change(func(n, o *apiextensionsv1.CustomResourceDefinition) { n.Spec = o.Spec }),
				ValidateUpdate: api.CheckChange(validateStatus),
				ResetFields:    [][]string{{"spec"}}},
		},
		Columns: columns(),
	}
}
