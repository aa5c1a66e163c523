package apps

import (
	appsv1 "k8s.io/api/apps/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"nau/internal/api"
)

// daemonSet declares the resource daemonsets.
func daemonSet() *api.Resource {
	return &api.Resource{
		Group: "apps",
		Kind:  "DaemonSet", Plural: "daemonsets", Singular: "daemonset",
		ShortNames: []string{"ds"},
		Categories: []string{"all"},
		Namespaced: true,
		Versions:   []api.Version{{Name: "v1", New: api.New[appsv1.DaemonSet](), NewList: api.New[appsv1.DaemonSetList](), Default: api.Each(DefaultDaemonSet)}},
		Storage:    "v1",
		Prefix:     "daemonsets",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name:                apivalidation.NameIsDNSSubdomain,
			PrepareCreate:       api.Each(prepareDaemonSet),
			PrepareUpdate:       api.Change(prepareDaemonSetUpdate),
			Validate:            api.Check(validateDaemonSet),
			ValidateUpdate:      api.CheckChange(validateDaemonSetUpdate),
			Warnings:            api.Warn(daemonSetWarnings),
			ResetFields:         [][]string{{"status"}},
			UnconditionalUpdate: true,
		},
		Subresources: []api.Subresource{
			{Name: "status", Kind: "DaemonSet", Verbs: api.StatusVerbs, New: api.New[appsv1.DaemonSet](),
				PrepareUpdate:  api.Change(func(n, o *appsv1.DaemonSet) { n.Spec = o.Spec }),
				ValidateUpdate: api.CheckChange(validateDaemonSetStatus),
				ResetFields:    [][]string{{"spec"}}},
		},
		Columns: daemonSetColumns(),
	}
}
