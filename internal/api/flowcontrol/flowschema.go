package flowcontrol

import (
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"nau/internal/api"
	"nau/internal/api/meta"
)

// flowSchema declares the resource flowschemas.
func flowSchema() *api.Resource {
	return &api.Resource{
		Group: "flowcontrol.apiserver.k8s.io",
		Kind:  "FlowSchema", Plural: "flowschemas", Singular: "flowschema",
		Versions: []api.Version{{Name: "v1", New: api.New[flowcontrolv1.FlowSchema](), NewList: api.New[flowcontrolv1.FlowSchemaList](), Default: api.Each(DefaultFlowSchema)}},
		Storage:  "v1",
		Prefix:   "flowschemas",
		Verbs:    api.AllVerbs,
		Strategy: api.Strategy{
			Name:     apivalidation.NameIsDNSSubdomain,
			Validate: api.Check(validateSchema),
			PrepareCreate: api.Each(func(n *flowcontrolv1.FlowSchema) {
				n.Status = flowcontrolv1.FlowSchemaStatus{}
				n.Generation = 1
			}),
			PrepareUpdate: api.Change(func(n, o *flowcontrolv1.FlowSchema) {
				n.Status = o.Status
				meta.BumpGeneration(n, o, n.Spec, o.Spec)
			}),
			ResetFields:         [][]string{{"status"}},
			UnconditionalUpdate: true,
		},
		Subresources: []api.Subresource{
			{Name: "status", Kind: "FlowSchema", Verbs: api.StatusVerbs, New: api.New[flowcontrolv1.FlowSchema](),
				PrepareUpdate: api.Change(func(n, o *flowcontrolv1.FlowSchema) { n.Spec = o.Spec }),
				ResetFields:   [][]string{{"spec"}}},
		},
		Columns: schemaColumns(),
	}
}
