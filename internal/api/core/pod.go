package core

import (
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"nau/internal/api"
	"nau/internal/api/meta"
)

// pod declares the resource pods.
func pod() *api.Resource {
	return &api.Resource{
		Kind: "Pod", Plural: "pods", Singular: "pod",
		ShortNames: []string{"po"},
		Categories: []string{"all"},
		Namespaced: true,
		Versions:   []api.Version{{Name: "v1", New: api.New[corev1.Pod](), NewList: api.New[corev1.PodList]()}},
		Storage:    "v1",
		Prefix:     "pods",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name: apivalidation.NameIsDNSSubdomain,
			PrepareCreate: api.Each(func(n *corev1.Pod) {
				n.Status = corev1.PodStatus{}
				n.Generation = 1
			}),
			PrepareUpdate: api.Change(func(n, o *corev1.Pod) {
				n.Status = o.Status
				meta.BumpGeneration(n, o, n.Spec, o.Spec)
			}),
			ResetFields:         [][]string{{"status"}},
			UnconditionalUpdate: true,
		},
		Subresources: []api.Subresource{
			{Name: "status", Kind: "Pod", Verbs: api.StatusVerbs, New: api.New[corev1.Pod](),
				PrepareUpdate: api.Change(func(n, o *corev1.Pod) { n.Spec = o.Spec }),
				ResetFields:   [][]string{{"spec"}}},
			{Name: "binding", Kind: "Binding", Verbs: api.CreateOnly, New: api.New[corev1.Binding]()},
			{Name: "eviction", Group: "policy", Version: "v1", Kind: "Eviction", Verbs: api.CreateOnly, New: api.New[policyv1.Eviction]()},
			{Name: "ephemeralcontainers", Kind: "Pod", Verbs: api.StatusVerbs, New: api.New[corev1.Pod]()},
			{Name: "resize", Kind: "Pod", Verbs: api.StatusVerbs, New: api.New[corev1.Pod]()},
			{Name: "log", Kind: "Pod", Verbs: []string{"get"}, Connect: true, New: api.New[corev1.PodLogOptions]()},
			{Name: "exec", Kind: "PodExecOptions", Verbs: api.StreamVerbs, Connect: true, New: api.New[corev1.PodExecOptions]()},
			{Name: "attach", Kind: "PodAttachOptions", Verbs: api.StreamVerbs, Connect: true, New: api.New[corev1.PodAttachOptions]()},
			{Name: "portforward", Kind: "PodPortForwardOptions", Verbs: api.StreamVerbs, Connect: true, New: api.New[corev1.PodPortForwardOptions]()},
			{Name: "proxy", Kind: "PodProxyOptions", Verbs: api.ProxyVerbs, Connect: true, New: api.New[corev1.PodProxyOptions]()},
		},
	}
}
