package garbagecollector

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// owner is what became of one that an object refers to.
type owner int

const (
	solid   owner = iota // there, and means to stay
	absent               // gone: no object of that UID
	leaving              // there, but waits for its dependents to be gone
	unknown              // cannot be found out: nothing is done on its account
)

// verdict is what to do with an object.
type verdict struct {
	// unhook removes these owners from the object, which stays.
	unhook []types.UID
	// unblock sets blockOwnerDeletion of the object's references to false, so
	// that a circle of owners waiting for each other comes apart.
	unblock bool
	// remove deletes the object with this propagation; "" leaves it.
	remove metav1.DeletionPropagation
}

// judge decides from an object's present metadata, the state of its owners in the
// order of its references, and its dependents. (Kubernetes documentation,
// "Garbage Collection")
func judge(o metav1.Object, owners []owner, dependents []*node) (v verdict) {
	left := slices.ContainsFunc(owners, func(x owner) bool { return x == solid || x == unknown })
	leavingAny := slices.Contains(owners, leaving)
	switch {
	case len(owners) == 0:
		return v
	case left:
		// Somebody wants it: it lets go of the others.
		for i, ref := range o.GetOwnerReferences() {
			if owners[i] == absent || owners[i] == leaving {
				v.unhook = append(v.unhook, ref.UID)
			}
		}
		return v
	case leavingAny && len(dependents) > 0:
		v.unblock = slices.ContainsFunc(dependents, func(d *node) bool { return d.foreground })
		v.remove = metav1.DeletePropagationForeground
		return v
	}
	switch f := o.GetFinalizers(); {
	case slices.Contains(f, metav1.FinalizerOrphanDependents):
		v.remove = metav1.DeletePropagationOrphan
	case slices.Contains(f, metav1.FinalizerDeleteDependents):
		v.remove = metav1.DeletePropagationForeground
	default:
		v.remove = metav1.DeletePropagationBackground
	}
	return v
}

// held are the dependents that an owner in foreground deletion waits for.
func held(uid types.UID, dependents []*node) []*node {
	var out []*node
	for _, d := range dependents {
		if i := slices.IndexFunc(d.owners, is(uid)); i >= 0 && blocks(d.owners[i]) {
			out = append(out, d)
		}
	}
	return out
}

// without returns references but those to the given owners.
func without(refs []metav1.OwnerReference, uids ...types.UID) []metav1.OwnerReference {
	out := []metav1.OwnerReference{}
	for _, ref := range refs {
		if !slices.Contains(uids, ref.UID) {
			out = append(out, ref)
		}
	}
	return out
}

// unblocked returns references none of which blocks its owner.
func unblocked(refs []metav1.OwnerReference) []metav1.OwnerReference {
	out := slices.Clone(refs)
	for i := range out {
		if blocks(out[i]) {
			no := false
			out[i].BlockOwnerDeletion = &no
		}
	}
	return out
}
