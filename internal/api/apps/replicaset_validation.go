package apps

import (
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nau/internal/api/core"
	"nau/internal/api/meta"
)

func validateReplicaSet(r *appsv1.ReplicaSet) field.ErrorList {
	p, s := field.NewPath("spec"), &r.Spec
	errs := meta.NonNegativePtr(p.Child("replicas"), s.Replicas)
	errs = append(errs, meta.NonNegative(p.Child("minReadySeconds"), s.MinReadySeconds)...)
	return append(errs, validateWorkload(p, "replicaset", s.Selector, &s.Template)...)
}

func validateReplicaSetUpdate(new, old *appsv1.ReplicaSet) field.ErrorList {
	return append(validateReplicaSet(new), meta.Immutable(field.NewPath("spec", "selector"), new.Spec.Selector, old.Spec.Selector)...)
}

func validateReplicaSetStatus(new, _ *appsv1.ReplicaSet) field.ErrorList {
	s := &new.Status
	return core.ReplicaCounts(field.NewPath("status"), s.Replicas, s.FullyLabeledReplicas, s.ReadyReplicas, s.AvailableReplicas, s.ObservedGeneration)
}
