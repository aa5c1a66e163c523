package core

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"nau/internal/api"
)

// configMap declares the resource configmaps.
func configMap() *api.Resource {
	return &api.Resource{
		Kind: "ConfigMap", Plural: "configmaps", Singular: "configmap",
		ShortNames: []string{"cm"},
		Namespaced: true,
		Versions:   []api.Version{{Name: "v1", New: api.New[corev1.ConfigMap](), NewList: api.New[corev1.ConfigMapList](), Default: api.Each(defaultConfigMap)}},
		Storage:    "v1",
		Prefix:     "configmaps",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name:                apivalidation.NameIsDNSSubdomain,
			Validate:            api.Check(validateConfigMap),
			ValidateUpdate:      api.CheckChange(validateConfigMapUpdate),
			UnconditionalUpdate: true,
		},
		Columns: configMapColumns(),
	}
}
