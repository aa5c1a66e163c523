package authentication

import (
	authenticationv1 "k8s.io/api/authentication/v1"

	"nau/internal/api"
)

// selfSubjectReview declares the resource selfsubjectreviews.
func selfSubjectReview() *api.Resource {
	return &api.Resource{
		Group: "authentication.k8s.io",
		Kind:  "SelfSubjectReview", Plural: "selfsubjectreviews", Singular: "selfsubjectreview",
		Versions: []api.Version{{Name: "v1", New: api.New[authenticationv1.SelfSubjectReview]()}},
		Storage:  "v1",
		Virtual:  true,
		Verbs:    api.CreateOnly,
	}
}
