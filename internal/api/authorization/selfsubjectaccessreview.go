package authorization

import (
	authorizationv1 "k8s.io/api/authorization/v1"

	"nau/internal/api"
)

// selfSubjectAccessReview declares the resource selfsubjectaccessreviews.
func selfSubjectAccessReview() *api.Resource {
	return &api.Resource{
		Group: "authorization.k8s.io",
		Kind:  "SelfSubjectAccessReview", Plural: "selfsubjectaccessreviews", Singular: "selfsubjectaccessreview",
		Versions: []api.Version{{Name: "v1", New: api.New[authorizationv1.SelfSubjectAccessReview]()}},
		Storage:  "v1",
		Virtual:  true,
		Verbs:    api.CreateOnly,
		Strategy: api.Strategy{Validate: api.Check(validateSelf)},
	}
}
