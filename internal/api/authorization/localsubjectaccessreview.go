package authorization

import (
	authorizationv1 "k8s.io/api/authorization/v1"

	"nau/internal/api"
)

// localSubjectAccessReview declares the resource localsubjectaccessreviews.
func localSubjectAccessReview() *api.Resource {
	return &api.Resource{
		Group: "authorization.k8s.io",
		Kind:  "LocalSubjectAccessReview", Plural: "localsubjectaccessreviews", Singular: "localsubjectaccessreview",
		Namespaced: true,
		Versions:   []api.Version{{Name: "v1", New: api.New[authorizationv1.LocalSubjectAccessReview]()}},
		Storage:    "v1",
		Virtual:    true,
		Verbs:      api.CreateOnly,
		Strategy:   api.Strategy{Validate: api.Check(validateLocal)},
	}
}
