package apiserver

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"nau/internal/api"
)

// deletion is what a delete request does to an object.
type deletion struct {
	// next is the state to store; nil for none.
	next runtime.Object
	// remove tells to take the object out of the store (after nothing else).
	remove bool
}

// conflict is a precondition that does not hold.
type preconditionFailed string

func (p preconditionFailed) Error() string { return string(p) }

// decideDeletion is the API's rule for DELETE (API conventions, "finalizers" and "graceful deletion"): preconditions, then the
// garbage collector's finalizers, then grace, then removal.
func decideDeletion(now time.Time, s *api.Strategy, obj runtime.Object, o *metav1.DeleteOptions) (deletion, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return deletion{}, err
	}
	if p := o.Preconditions; p != nil {
		if p.UID != nil && *p.UID != m.GetUID() {
			return deletion{}, preconditionFailed(fmt.Sprintf("the UID in the precondition (%s) does not match the UID in record (%s). The object might have been deleted and then recreated", *p.UID, m.GetUID()))
		}
		if p.ResourceVersion != nil && *p.ResourceVersion != m.GetResourceVersion() {
			return deletion{}, preconditionFailed(fmt.Sprintf("the ResourceVersion in the precondition (%s) does not match the ResourceVersion in record (%s). The object might have been modified", *p.ResourceVersion, m.GetResourceVersion()))
		}
	}
	next := obj.DeepCopyObject()
	n, err := meta.Accessor(next)
	if err != nil {
		return deletion{}, err
	}
	finalizers := withPolicy(n.GetFinalizers(), s, o)
	changed := !slices.Equal(finalizers, n.GetFinalizers())
	if changed {
		n.SetFinalizers(finalizers)
	}
	held := len(finalizers) > 0

	if ns, ok := next.(*corev1.Namespace); ok && len(ns.Spec.Finalizers) > 0 {
		if n.GetDeletionTimestamp() != nil && !changed {
			return deletion{}, nil
		}
		if n.GetDeletionTimestamp() == nil {
			t := metav1.NewTime(now)
			n.SetDeletionTimestamp(&t)
			ns.Status.Phase = corev1.NamespaceTerminating
		}
		return deletion{next: next}, nil
	}

	graceful, pending := grace(now, s, n, next, o)
	switch {
	case pending && !changed:
		return deletion{}, nil
	case pending:
		return deletion{next: next}, nil
	case graceful:
		if *n.GetDeletionGracePeriodSeconds() > 0 || held {
			return deletion{next: next}, nil
		}
		return deletion{remove: true}, nil
	case held:
		was := n.GetDeletionTimestamp()
		if was != nil && !was.After(now) && !changed {
			return deletion{}, nil
		}
		if was == nil || was.After(now) {
			if was == nil && n.GetGeneration() > 0 {
				n.SetGeneration(n.GetGeneration() + 1)
			}
			t := metav1.NewTime(now)
			n.SetDeletionTimestamp(&t)
		}
		zero := int64(0)
		n.SetDeletionGracePeriodSeconds(&zero)
		return deletion{next: next}, nil
	}
	return deletion{remove: true}, nil
}

// grace applies graceful deletion to next. graceful tells that deletion time and period were set, pending that an earlier
// deletion goes on unchanged.
func grace(now time.Time, s *api.Strategy, n metav1.Object, next runtime.Object, o *metav1.DeleteOptions) (graceful, pending bool) {
	if s.Grace == nil {
		return false, false
	}
	if t := n.GetDeletionTimestamp(); t != nil {
		had := n.GetDeletionGracePeriodSeconds()
		if had == nil || *had == 0 {
			return false, false
		}
		if o.GracePeriodSeconds == nil || *o.GracePeriodSeconds >= *had {
			return false, true
		}
		// The period may only be shortened.
		period := max(*o.GracePeriodSeconds, 0)
		at := metav1.NewTime(t.Add(time.Duration(period-*had) * time.Second))
		n.SetDeletionTimestamp(&at)
		n.SetDeletionGracePeriodSeconds(&period)
		return true, false
	}
	period, ok := s.Grace(next, o.GracePeriodSeconds)
	if !ok {
		return false, false
	}
	at := metav1.NewTime(now.Add(time.Duration(period) * time.Second))
	n.SetDeletionTimestamp(&at)
	n.SetDeletionGracePeriodSeconds(&period)
	if n.GetGeneration() > 0 {
		n.SetGeneration(n.GetGeneration() + 1)
	}
	return true, false
}

// withPolicy puts the garbage collector's finalizers in or takes them out, as the propagation policy says.
func withPolicy(finalizers []string, s *api.Strategy, o *metav1.DeleteOptions) []string {
	has := func(f string) bool { return slices.Contains(finalizers, f) }
	orphan, foreground := has(metav1.FinalizerOrphanDependents), has(metav1.FinalizerDeleteDependents)
	switch {
	case o.OrphanDependents != nil:
		orphan, foreground = *o.OrphanDependents, false
	case o.PropagationPolicy != nil:
		orphan = *o.PropagationPolicy == metav1.DeletePropagationOrphan
		foreground = *o.PropagationPolicy == metav1.DeletePropagationForeground
	case !orphan && !foreground:
		orphan = s.OrphanByDefault
	case orphan:
		foreground = false
	}
	if orphan == has(metav1.FinalizerOrphanDependents) && foreground == has(metav1.FinalizerDeleteDependents) {
		return finalizers
	}
	var out []string
	for _, f := range finalizers {
		if f != metav1.FinalizerOrphanDependents && f != metav1.FinalizerDeleteDependents {
			out = append(out, f)
		}
	}
	if orphan {
		out = append(out, metav1.FinalizerOrphanDependents)
	}
	if foreground {
		out = append(out, metav1.FinalizerDeleteDependents)
	}
	return out
}

// specFinalizers tells whether a namespace still waits for its content to go.
func specFinalizers(obj runtime.Object) bool {
	ns, ok := obj.(*corev1.Namespace)
	return ok && len(ns.Spec.Finalizers) > 0
}
