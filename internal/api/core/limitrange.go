package core

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"nau/internal/api"
	"nau/internal/api/column"
)

// limitRange declares the resource limitranges.
func limitRange() *api.Resource {
	return &api.Resource{
		Kind: "LimitRange", Plural: "limitranges", Singular: "limitrange",
		ShortNames: []string{"limits"},
		Namespaced: true,
		Versions:   []api.Version{{Name: "v1", New: api.New[corev1.LimitRange](), NewList: api.New[corev1.LimitRangeList](), Default: api.Each(defaultLimitRange)}},
		Storage:    "v1",
		Prefix:     "limitranges",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name:                apivalidation.NameIsDNSSubdomain,
			Validate:            api.Check(validateLimitRange),
			CreateOnUpdate:      true,
			UnconditionalUpdate: true,
		},
		Columns: []api.Column{column.Name(), column.CreatedAt()},
	}
}
