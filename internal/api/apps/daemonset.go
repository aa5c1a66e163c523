package apps

import (
	appsv1 "k8s.io/api/apps/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"nau/internal/api"
	"nau/internal/api/meta"
)

// daemonSet declares the resource daemonsets.
func daemonSet() *api.Resource {
	return &api.Resource{
		Group: "apps",
		Kind:  "DaemonSet", Plural: "daemonsets", Singular: "daemonset",
		ShortNames: []string{"ds"},
		Categories: []string{"all"},
		Namespaced: true,
		Versions:   []api.Version{{Name: "v1", New: api.New[appsv1.DaemonSet](), NewList: api.New[appsv1.DaemonSetList]()}},
		Storage:    "v1",
		Prefix:     "daemonsets",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name: apivalidation.NameIsDNSSubdomain,
			PrepareCreate: api.Each(func(n *appsv1.DaemonSet) {
				n.Status = appsv1.DaemonSetStatus{}
				n.Generation = 1
			}),
			PrepareUpdate: api.Change(func(n, o *appsv1.DaemonSet) {
				n.Status = o.Status
				meta.BumpGeneration(n, o, n.Spec, o.Spec)
			}),
			ResetFields:         [][]string{{"status"}},
			UnconditionalUpdate: true,
		},
		Subresources: []api.Subresource{
			{Name: "status", Kind: "DaemonSet", Verbs: api.StatusVerbs, New: api.New[appsv1.DaemonSet](),
				PrepareUpdate: api.Change(func(n, o *appsv1.DaemonSet) { n.Spec = o.Spec }),
				ResetFields:   [][]string{{"spec"}}},
		},
	}
}
