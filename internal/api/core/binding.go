package core

import (
	corev1 "k8s.io/api/core/v1"

	"nau/internal/api"
)

// binding declares the resource bindings.
func binding() *api.Resource {
	return &api.Resource{
		Kind: "Binding", Plural: "bindings", Singular: "binding",
		Namespaced: true,
		Versions:   []api.Version{{Name: "v1", New: api.New[corev1.Binding]()}},
		Storage:    "v1",
		Virtual:    true,
		Verbs:      api.CreateOnly,
		Strategy:   api.Strategy{Validate: api.Check(ValidateBinding)},
	}
}
