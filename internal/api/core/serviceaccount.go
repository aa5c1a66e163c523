package core

import (
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"nau/internal/api"
)

// serviceAccount declares the resource serviceaccounts.
func serviceAccount() *api.Resource {
	return &api.Resource{
		Kind: "ServiceAccount", Plural: "serviceaccounts", Singular: "serviceaccount",
		ShortNames: []string{"sa"},
		Namespaced: true,
		Versions:   []api.Version{{Name: "v1", New: api.New[corev1.ServiceAccount](), NewList: api.New[corev1.ServiceAccountList]()}},
		Storage:    "v1",
		Prefix:     "serviceaccounts",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name:                apivalidation.NameIsDNSSubdomain,
			UnconditionalUpdate: true,
		},
		Subresources: []api.Subresource{
			{Name: "token", Group: "authentication.k8s.io", Version: "v1", Kind: "TokenRequest", Verbs: api.CreateOnly, New: api.New[authenticationv1.TokenRequest](),
				Default: api.Each(defaultTokenRequest), Validate: api.Check(validateTokenRequest)},
		},
		Columns: serviceAccountColumns(),
	}
}
