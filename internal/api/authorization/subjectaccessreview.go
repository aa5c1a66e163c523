package authorization

import (
	authorizationv1 "k8s.io/api/authorization/v1"

	"nau/internal/api"
)

// subjectAccessReview declares the resource subjectaccessreviews.
func subjectAccessReview() *api.Resource {
	return &api.Resource{
		Group: "authorization.k8s.io",
		Kind:  "SubjectAccessReview", Plural: "subjectaccessreviews", Singular: "subjectaccessreview",
		Versions: []api.Version{{Name: "v1", New: api.New[authorizationv1.SubjectAccessReview]()}},
		Storage:  "v1",
		Virtual:  true,
		Verbs:    api.CreateOnly,
		Strategy: api.Strategy{Validate: api.Check(validateSubject)},
	}
}
