package core

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"

	"nau/internal/api"
)

// secret declares the resource secrets.
func secret() *api.Resource {
	return &api.Resource{
		Kind: "Secret", Plural: "secrets", Singular: "secret",
		Namespaced: true,
		Versions:   []api.Version{{Name: "v1", New: api.New[corev1.Secret](), NewList: api.New[corev1.SecretList](), Default: api.Each(defaultSecret)}},
		Storage:    "v1",
		Prefix:     "secrets",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name:                apivalidation.NameIsDNSSubdomain,
			PrepareCreate:       api.Each(prepareSecret),
			PrepareUpdate:       api.Change(prepareSecretUpdate),
			Validate:            api.Check(validateSecret),
			ValidateUpdate:      api.CheckChange(validateSecretUpdate),
			Warnings:            api.Warn(secretWarnings),
			UnconditionalUpdate: true,
		},
		Columns: secretColumns(),
		Fields:  func(o runtime.Object) fields.Set { return secretFields(o.(*corev1.Secret)) },
	}
}
