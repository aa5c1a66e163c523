package flowcontrol

import (
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"nau/internal/api"
	"nau/internal/api/meta"
)

// priorityLevelConfiguration declares the resource prioritylevelconfigurations.
func priorityLevelConfiguration() *api.Resource {
	return &api.Resource{
		Group: "flowcontrol.apiserver.k8s.io",
		Kind:  "PriorityLevelConfiguration", Plural: "prioritylevelconfigurations", Singular: "prioritylevelconfiguration",
		Versions: []api.Version{{Name: "v1", New: api.New[flowcontrolv1.PriorityLevelConfiguration](), NewList: api.New[flowcontrolv1.PriorityLevelConfigurationList](), Default: api.Each(DefaultPriorityLevel)}},
		Storage:  "v1",
		Prefix:   "prioritylevelconfigurations",
		Verbs:    api.AllVerbs,
		Strategy: api.Strategy{
			Name:     apivalidation.NameIsDNSSubdomain,
			Validate: api.Check(validateLevel),
			PrepareCreate: api.Each(func(n *flowcontrolv1.PriorityLevelConfiguration) {
				n.Status = flowcontrolv1.PriorityLevelConfigurationStatus{}
				n.Generation = 1
			}),
			PrepareUpdate: api.Change(func(n, o *flowcontrolv1.PriorityLevelConfiguration) {
				n.Status = o.Status
				meta.BumpGeneration(n, o, n.Spec, o.Spec)
			}),
			ResetFields:         [][]string{{"status"}},
			UnconditionalUpdate: true,
		},
		Subresources: []api.Subresource{
			{Name: "status", Kind: "PriorityLevelConfiguration", Verbs: api.StatusVerbs, New: api.New[flowcontrolv1.PriorityLevelConfiguration](),
				PrepareUpdate: api.Change(func(n, o *flowcontrolv1.PriorityLevelConfiguration) { n.Spec = o.Spec }),
				ResetFields:   [][]string{{"spec"}}},
		},
		Columns: levelColumns(),
	}
}
