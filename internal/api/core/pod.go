package core

import (
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"

	"nau/internal/api"
)

// pod declares the resource pods.
func pod() *api.Resource {
	return &api.Resource{
		Kind: "Pod", Plural: "pods", Singular: "pod",
		ShortNames: []string{"po"},
		Categories: []string{"all"},
		Namespaced: true,
		Versions:   []api.Version{{Name: "v1", New: api.New[corev1.Pod](), NewList: api.New[corev1.PodList](), Default: api.Each(DefaultPod)}},
		Storage:    "v1",
		Prefix:     "pods",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name:                apivalidation.NameIsDNSSubdomain,
			PrepareCreate:       api.Each(preparePod),
			PrepareUpdate:       api.Change(preparePodUpdate),
			Validate:            api.Check(validatePod),
			ValidateUpdate:      api.CheckChange(validatePodUpdate),
			Warnings:            api.Warn(podWarnings),
			Grace:               func(o runtime.Object, requested *int64) (int64, bool) { return podGrace(o.(*corev1.Pod), requested) },
			ResetFields:         [][]string{{"status"}},
			UnconditionalUpdate: true,
		},
		Subresources: []api.Subresource{
			{Name: "status", Kind: "Pod", Verbs: api.StatusVerbs, New: api.New[corev1.Pod](),
				PrepareUpdate:  api.Change(preparePodStatus),
				ValidateUpdate: api.CheckChange(validatePodStatusUpdate),
				ResetFields:    [][]string{{"spec"}, {"metadata", "deletionTimestamp"}, {"metadata", "ownerReferences"}}},
			{Name: "binding", Kind: "Binding", Verbs: api.CreateOnly, New: api.New[corev1.Binding](), Validate: api.Check(ValidateBinding)},
			{Name: "eviction", Group: "policy", Version: "v1", Kind: "Eviction", Verbs: api.CreateOnly, New: api.New[policyv1.Eviction]()},
			{Name: "ephemeralcontainers", Kind: "Pod", Verbs: api.StatusVerbs, New: api.New[corev1.Pod](),
				PrepareUpdate: api.Change(prepareEphemeral), ValidateUpdate: api.CheckChange(validateEphemeralUpdate)},
			{Name: "resize", Kind: "Pod", Verbs: api.StatusVerbs, New: api.New[corev1.Pod](),
				PrepareUpdate: api.Change(prepareResize), ValidateUpdate: api.CheckChange(validateResize)},
			{Name: "log", Kind: "Pod", Verbs: []string{"get"}, Connect: true, New: api.New[corev1.PodLogOptions]()},
			{Name: "exec", Kind: "PodExecOptions", Verbs: api.StreamVerbs, Connect: true, New: api.New[corev1.PodExecOptions]()},
			{Name: "attach", Kind: "PodAttachOptions", Verbs: api.StreamVerbs, Connect: true, New: api.New[corev1.PodAttachOptions]()},
			{Name: "portforward", Kind: "PodPortForwardOptions", Verbs: api.StreamVerbs, Connect: true, New: api.New[corev1.PodPortForwardOptions]()},
			{Name: "proxy", Kind: "PodProxyOptions", Verbs: api.ProxyVerbs, Connect: true, New: api.New[corev1.PodProxyOptions]()},
		},
		Columns: podColumns(),
		Fields:  func(o runtime.Object) fields.Set { return podFields(o.(*corev1.Pod)) },
	}
}
