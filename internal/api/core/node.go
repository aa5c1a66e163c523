package core

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"

	"nau/internal/api"
)

// node declares the resource nodes.
func node() *api.Resource {
	return &api.Resource{
		Kind: "Node", Plural: "nodes", Singular: "node",
		ShortNames: []string{"no"},
		Versions:   []api.Version{{Name: "v1", New: api.New[corev1.Node](), NewList: api.New[corev1.NodeList](), Default: api.Each(DefaultNode)}},
		Storage:    "v1",
		Prefix:     "minions",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name:           apivalidation.NameIsDNSSubdomain,
			Validate:       api.Check(validateNode),
			ValidateUpdate: api.CheckChange(validateNodeUpdate),
			// A node registers with its status: the node agent writes both in one request.
			PrepareUpdate: api.Change(func(n, o *corev1.Node) {
				n.Status = o.Status
			}),
			ResetFields:         [][]string{{"status"}},
			UnconditionalUpdate: true,
		},
		Subresources: []api.Subresource{
			{Name: "status", Kind: "Node", Verbs: api.StatusVerbs, New: api.New[corev1.Node](),
				PrepareUpdate:  api.Change(func(n, o *corev1.Node) { n.Spec = o.Spec }),
				ValidateUpdate: api.CheckChange(validateNodeStatus),
				ResetFields:    [][]string{{"spec"}}},
			{Name: "proxy", Kind: "NodeProxyOptions", Verbs: api.ProxyVerbs, Connect: true, New: api.New[corev1.NodeProxyOptions]()},
		},
		Columns: nodeColumns(),
		Fields:  func(o runtime.Object) fields.Set { return nodeFields(o.(*corev1.Node)) },
	}
}
