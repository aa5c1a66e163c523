package core

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"nau/internal/api"
)

// secret declares the resource secrets.
func secret() *api.Resource {
	return &api.Resource{
		Kind: "Secret", Plural: "secrets", Singular: "secret",
		Namespaced: true,
		Versions:   []api.Version{{Name: "v1", New: api.New[corev1.Secret](), NewList: api.New[corev1.SecretList]()}},
		Storage:    "v1",
		Prefix:     "secrets",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name:                apivalidation.NameIsDNSSubdomain,
			UnconditionalUpdate: true,
		},
	}
}
