package plugin

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Term is a pod affinity or anti-affinity term in a form that can be asked.
type Term struct {
	Key        string
	namespaces []string
	everywhere bool            // an empty namespace selector: all namespaces
	nsSelector labels.Selector // nil: namespaces only
	selector   labels.Selector
}

// NewTerm prepares a term of a pod; without namespaces it speaks of the pod's
// own. A selector that does not parse matches nothing; validation refuses it.
func NewTerm(pod *corev1.Pod, t *corev1.PodAffinityTerm) Term {
	out := Term{Key: t.TopologyKey, namespaces: t.Namespaces, selector: Selector(pod, t.LabelSelector, t.MatchLabelKeys, t.MismatchLabelKeys)}
	if t.NamespaceSelector != nil {
		out.nsSelector, _ = metav1.LabelSelectorAsSelector(t.NamespaceSelector)
		out.everywhere = out.nsSelector != nil && out.nsSelector.Empty()
	} else if len(t.Namespaces) == 0 {
		out.namespaces = []string{pod.Namespace}
	}
	return out
}

// Matches tells whether the term speaks of the pod. namespace gives the labels
// of a namespace.
func (t *Term) Matches(pod *corev1.Pod, namespace func(string) labels.Set) bool {
	if !t.everywhere && !slices.Contains(t.namespaces, pod.Namespace) &&
		(t.nsSelector == nil || namespace == nil || !t.nsSelector.Matches(namespace(pod.Namespace))) {
		return false
	}
	return t.selector.Matches(labels.Set(pod.Labels))
}

// Selector joins a label selector with the keys whose values must equal, or
// differ from, the pod's own (KEP-3243, KEP-3633).
func Selector(pod *corev1.Pod, s *metav1.LabelSelector, match, mismatch []string) labels.Selector {
	if s == nil {
		return labels.Nothing()
	}
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return labels.Nothing()
	}
	for _, key := range match {
		if value, ok := pod.Labels[key]; ok {
			if r, err := labels.NewRequirement(key, "in", []string{value}); err == nil {
				selector = selector.Add(*r)
			}
		}
	}
	for _, key := range mismatch {
		if value, ok := pod.Labels[key]; ok {
			if r, err := labels.NewRequirement(key, "notin", []string{value}); err == nil {
				selector = selector.Add(*r)
			}
		}
	}
	return selector
}
