package usage

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Covers tells whether an object falls under a quota: under all of its scopes. A quota with scopes is about the kinds only that
// its scopes speak of.
func Covers(spec *corev1.ResourceQuotaSpec, obj runtime.Object) bool {
	for _, s := range spec.Scopes {
		if !within(corev1.ScopedResourceSelectorRequirement{ScopeName: s, Operator: corev1.ScopeSelectorOpExists}, obj) {
			return false
		}
	}
	if spec.ScopeSelector == nil {
		return true
	}
	for _, r := range spec.ScopeSelector.MatchExpressions {
		if !within(r, obj) {
			return false
		}
	}
	return true
}

func within(r corev1.ScopedResourceSelectorRequirement, obj runtime.Object) bool {
	switch o := obj.(type) {
	case *corev1.Pod:
		switch r.ScopeName {
		case corev1.ResourceQuotaScopeTerminating:
			return o.Spec.ActiveDeadlineSeconds != nil && *o.Spec.ActiveDeadlineSeconds >= 0
		case corev1.ResourceQuotaScopeNotTerminating:
			return o.Spec.ActiveDeadlineSeconds == nil
		case corev1.ResourceQuotaScopeBestEffort:
			return bestEffort(o)
		case corev1.ResourceQuotaScopeNotBestEffort:
			return !bestEffort(o)
		case corev1.ResourceQuotaScopePriorityClass:
			return named(r, o.Spec.PriorityClassName)
		case corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
			return crosses(o) == (r.Operator != corev1.ScopeSelectorOpDoesNotExist)
		}
	case *corev1.PersistentVolumeClaim:
		if r.ScopeName == corev1.ResourceQuotaScopeVolumeAttributesClass {
			if c := o.Spec.VolumeAttributesClassName; c != nil && *c != "" && named(r, *c) {
				return true
			}
			if c := o.Status.CurrentVolumeAttributesClassName; c != nil && *c != "" {
				return named(r, *c)
			}
			return o.Spec.VolumeAttributesClassName == nil && named(r, "")
		}
	}
	return false
}

func named(r corev1.ScopedResourceSelectorRequirement, value string) bool {
	switch r.Operator {
	case corev1.ScopeSelectorOpExists:
		return value != ""
	case corev1.ScopeSelectorOpDoesNotExist:
		return value == ""
	case corev1.ScopeSelectorOpIn:
		return slices.Contains(r.Values, value)
	case corev1.ScopeSelectorOpNotIn:
		return !slices.Contains(r.Values, value)
	}
	return false
}

// bestEffort is the QoS class of a pod that asks for no cpu and no memory and is not limited in them.
func bestEffort(p *corev1.Pod) bool {
	asks := func(r corev1.ResourceRequirements) bool {
		for _, l := range []corev1.ResourceList{r.Requests, r.Limits} {
			for _, n := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
				if q, ok := l[n]; ok && !q.IsZero() {
					return true
				}
			}
		}
		return false
	}
	if p.Spec.Resources != nil && asks(*p.Spec.Resources) {
		return false
	}
	for _, list := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
		for i := range list {
			if asks(list[i].Resources) {
				return false
			}
		}
	}
	return true
}

// crosses tells whether a pod's affinity looks at other namespaces.
func crosses(p *corev1.Pod) bool {
	a := p.Spec.Affinity
	if a == nil {
		return false
	}
	far := func(required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm) bool {
		for _, w := range preferred {
			required = append(slices.Clip(required), w.PodAffinityTerm)
		}
		return slices.ContainsFunc(required, func(t corev1.PodAffinityTerm) bool { return len(t.Namespaces) > 0 || t.NamespaceSelector != nil })
	}
	return a.PodAffinity != nil && far(a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution, a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution) ||
		a.PodAntiAffinity != nil && far(a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution, a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
}
