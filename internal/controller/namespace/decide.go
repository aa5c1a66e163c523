package namespace

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Found is what is left of one resource in a namespace that goes away.
type Found struct {
	Resource   schema.GroupVersionResource
	Count      int            // objects left
	Finalizers map[string]int // finalizer → objects that wait for it
	Err        error          // its content could not be deleted

	remains remains
}

// State is what a round of deletion found.
type State struct {
	DiscoveryErr error // some groups could not be discovered
	Found        []Found
}

// Done tells whether nothing is left and nothing went wrong.
func (s State) Done() bool {
	if s.DiscoveryErr != nil {
		return false
	}
	return !slices.ContainsFunc(s.Found, func(f Found) bool { return f.Count > 0 || f.Err != nil })
}

// Err is what went wrong, which is tried again without waiting for anything.
func (s State) Err() error {
	errs := []error{s.DiscoveryErr}
	for _, f := range s.Found {
		errs = append(errs, f.Err)
	}
	return errors.Join(errs...)
}

// PodsLeft tells whether pods are still there: nothing else is deleted before
// them (KEP-5080), so that they keep their configuration while they end.
func (s State) PodsLeft() int {
	for _, f := range s.Found {
		if f.Resource.Resource == "pods" && f.Resource.Group == "" {
			return f.Count
		}
	}
	return 0
}

// Conditions says on the namespace how far the deletion is, in upstream's words.
func Conditions(s State) []corev1.NamespaceCondition {
	yes := func(kind corev1.NamespaceConditionType, reason, message string) corev1.NamespaceCondition {
		return corev1.NamespaceCondition{Type: kind, Status: corev1.ConditionTrue, Reason: reason, Message: message}
	}
	no := func(kind corev1.NamespaceConditionType, reason, message string) corev1.NamespaceCondition {
		return corev1.NamespaceCondition{Type: kind, Status: corev1.ConditionFalse, Reason: reason, Message: message}
	}
	var out []corev1.NamespaceCondition
	if s.DiscoveryErr != nil {
		out = append(out, yes(corev1.NamespaceDeletionDiscoveryFailure, "DiscoveryFailed", fmt.Sprintf("Discovery failed for some groups: %v", s.DiscoveryErr)))
	} else {
		out = append(out, no(corev1.NamespaceDeletionDiscoveryFailure, "ResourcesDiscovered", "All resources successfully discovered"))
	}
	out = append(out, no(corev1.NamespaceDeletionGVParsingFailure, "ParsedGroupVersions", "All legacy kube types successfully parsed"))
	var failed, left, waiting []string
	finalizers := map[string]int{}
	for _, f := range s.Found {
		if f.Err != nil {
			failed = append(failed, f.Err.Error())
		}
		if f.Count > 0 {
			left = append(left, fmt.Sprintf("%s. has %d resource instances", dotted(f.Resource), f.Count))
		}
		for name, n := range f.Finalizers {
			finalizers[name] += n
		}
	}
	for name, n := range finalizers {
		waiting = append(waiting, fmt.Sprintf("%s in %d resource instances", name, n))
	}
	slices.Sort(failed)
	slices.Sort(left)
	slices.Sort(waiting)
	if len(failed) > 0 {
		out = append(out, yes(corev1.NamespaceDeletionContentFailure, "ContentDeletionFailed", fmt.Sprintf("Failed to delete all resource types, %d remaining: %s", len(failed), strings.Join(failed, ", "))))
	} else {
		out = append(out, no(corev1.NamespaceDeletionContentFailure, "ContentDeleted", "All content successfully deleted, may be waiting on finalization"))
	}
	if len(left) > 0 {
		out = append(out, yes(corev1.NamespaceContentRemaining, "SomeResourcesRemain", "Some resources are remaining: "+strings.Join(left, ", ")))
	} else {
		out = append(out, no(corev1.NamespaceContentRemaining, "ContentRemoved", "All content successfully removed"))
	}
	if len(waiting) > 0 {
		out = append(out, yes(corev1.NamespaceFinalizersRemaining, "SomeFinalizersRemain", "Some content in the namespace has finalizers remaining: "+strings.Join(waiting, ", ")))
	} else {
		out = append(out, no(corev1.NamespaceFinalizersRemaining, "ContentHasNoFinalizers", "All content-preserving finalizers finished"))
	}
	return out
}

func dotted(r schema.GroupVersionResource) string {
	if r.Group == "" {
		return r.Resource
	}
	return r.Resource + "." + r.Group
}

// merge puts new conditions over old ones; the time of a transition is kept
// where nothing changed. changed tells whether anything did.
func merge(old, now []corev1.NamespaceCondition, stamp func() corev1.NamespaceCondition) (out []corev1.NamespaceCondition, changed bool) {
	out = slices.Clone(old)
	for _, c := range now {
		i := slices.IndexFunc(out, func(o corev1.NamespaceCondition) bool { return o.Type == c.Type })
		switch {
		case i < 0:
			c.LastTransitionTime = stamp().LastTransitionTime
			out = append(out, c)
			changed = true
		case out[i].Status != c.Status || out[i].Message != c.Message || out[i].Reason != c.Reason:
			c.LastTransitionTime = stamp().LastTransitionTime
			if out[i].Status == c.Status {
				c.LastTransitionTime = out[i].LastTransitionTime
			}
			out[i] = c
			changed = true
		}
	}
	return out, changed
}
