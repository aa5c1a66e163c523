package authentication

import (
	authenticationv1 "k8s.io/api/authentication/v1"

	"nau/internal/api"
)

// tokenReview declares the resource tokenreviews.
func tokenReview() *api.Resource {
	return &api.Resource{
		Group: "authentication.k8s.io",
		Kind:  "TokenReview", Plural: "tokenreviews", Singular: "tokenreview",
		Versions: []api.Version{{Name: "v1", New: api.New[authenticationv1.TokenReview]()}},
		Storage:  "v1",
		Virtual:  true,
		Verbs:    api.CreateOnly,
	}
}
