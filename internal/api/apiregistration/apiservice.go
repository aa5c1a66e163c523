package apiregistration

import (
	"k8s.io/apimachinery/pkg/api/validation/path"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"nau/internal/api"
)

// apiService declares the resource apiservices.
func apiService() *api.Resource {
	return &api.Resource{
		Group: "apiregistration.k8s.io",
		Kind:  "APIService", Plural: "apiservices", Singular: "apiservice",
		Categories: []string{"api-extensions"},
		Versions:   []api.Version{{Name: "v1", New: api.New[apiregistrationv1.APIService](), NewList: api.New[apiregistrationv1.APIServiceList](), Default: api.Each(apiregistrationv1.SetObjectDefaults_APIService)}},
		Storage:    "v1",
		Prefix:     "apiregistration.k8s.io/apiservices",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name:          path.ValidatePathSegmentName,
			PrepareCreate: api.Each(prepare),
			Validate:      api.Check(validate),
			PrepareUpdate: api.Change(func(n, o *apiregistrationv1.APIService) {
				n.Status = o.Status
			}),
			ResetFields:         [][]string{{"status"}},
			UnconditionalUpdate: true,
		},
		Subresources: []api.Subresource{
			{Name: "status", Kind: "APIService", Verbs: api.StatusVerbs, New: api.New[apiregistrationv1.APIService](),
				PrepareUpdate:  api.Change(func(n, o *apiregistrationv1.APIService) { n.Spec = o.Spec }),
				ValidateUpdate: api.CheckChange(validateStatus),
				ResetFields:    [][]string{{"spec"}}},
		},
		Columns: columns(),
	}
}
