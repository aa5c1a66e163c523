package authorization

import (
	authorizationv1 "k8s.io/api/authorization/v1"

	"nau/internal/api"
)

// selfSubjectRulesReview declares the resource selfsubjectrulesreviews.
func selfSubjectRulesReview() *api.Resource {
	return &api.Resource{
		Group: "authorization.k8s.io",
		Kind:  "SelfSubjectRulesReview", Plural: "selfsubjectrulesreviews", Singular: "selfsubjectrulesreview",
		Versions: []api.Version{{Name: "v1", New: api.New[authorizationv1.SelfSubjectRulesReview]()}},
		Storage:  "v1",
		Virtual:  true,
		Verbs:    api.CreateOnly,
	}
}
