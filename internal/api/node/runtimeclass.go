package node

import (
	nodev1 "k8s.io/api/node/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"nau/internal/api"
)

// runtimeClass declares the resource runtimeclasses.
func runtimeClass() *api.Resource {
	return &api.Resource{
		Group: "node.k8s.io",
		Kind:  "RuntimeClass", Plural: "runtimeclasses", Singular: "runtimeclass",
		Versions: []api.Version{{Name: "v1", New: api.New[nodev1.RuntimeClass](), NewList: api.New[nodev1.RuntimeClassList]()}},
		Storage:  "v1",
		Prefix:   "runtimeclasses",
		Verbs:    api.AllVerbs,
		Strategy: api.Strategy{
			Name:           apivalidation.NameIsDNSSubdomain,
			Validate:       api.Check(validateRuntimeClass),
			ValidateUpdate: api.CheckChange(validateRuntimeClassUpdate),
		},
		Columns: runtimeClassColumns(),
	}
}
