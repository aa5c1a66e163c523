package scheduling

import (
	schedulingv1 "k8s.io/api/scheduling/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"nau/internal/api"
)

// priorityClass declares the resource priorityclasses.
func priorityClass() *api.Resource {
	return &api.Resource{
		Group: "scheduling.k8s.io",
		Kind:  "PriorityClass", Plural: "priorityclasses", Singular: "priorityclass",
		ShortNames: []string{"pc"},
		Versions:   []api.Version{{Name: "v1", New: api.New[schedulingv1.PriorityClass](), NewList: api.New[schedulingv1.PriorityClassList](), Default: api.Each(DefaultPriorityClass)}},
		Storage:    "v1",
		Prefix:     "priorityclasses",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name:                apivalidation.NameIsDNSSubdomain,
			PrepareCreate:       api.Each(func(n *schedulingv1.PriorityClass) { n.Generation = 1 }),
			Validate:            api.Check(validatePriorityClass),
			ValidateUpdate:      api.CheckChange(validatePriorityClassUpdate),
			UnconditionalUpdate: true,
		},
		Columns: priorityClassColumns(),
	}
}
