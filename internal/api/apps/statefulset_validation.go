package apps

import (
	appsv1 "k8s.io/api/apps/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nau/internal/api/core"
	"nau/internal/api/meta"
)

func validateStatefulSet(s *appsv1.StatefulSet) field.ErrorList {
	p, spec := field.NewPath("spec"), &s.Spec
	errs := meta.OneOf(p.Child("podManagementPolicy"), spec.PodManagementPolicy, appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement)
	at := p.Child("updateStrategy")
	switch spec.UpdateStrategy.Type {
	case "":
		errs = append(errs, field.Required(at, ""))
	case appsv1.OnDeleteStatefulSetStrategyType:
		if spec.UpdateStrategy.RollingUpdate != nil {
			errs = append(errs, field.Invalid(at.Child("rollingUpdate"), spec.UpdateStrategy.RollingUpdate, "only allowed for updateStrategy 'RollingUpdate'"))
		}
	case appsv1.RollingUpdateStatefulSetStrategyType:
		if r := spec.UpdateStrategy.RollingUpdate; r != nil {
			errs = append(errs, meta.NonNegativePtr(at.Child("rollingUpdate", "partition"), r.Partition)...)
			if v := r.MaxUnavailable; v != nil {
				mp := at.Child("rollingUpdate", "maxUnavailable")
				errs = append(errs, meta.PositiveIntOrPercent(mp, *v)...)
				errs = append(errs, meta.NotMoreThan100Percent(mp, *v)...)
				if zero(*v) {
					errs = append(errs, field.Invalid(mp, *v, "cannot be 0"))
				}
			}
		}
	default:
		errs = append(errs, field.Invalid(at, spec.UpdateStrategy, "must be 'RollingUpdate' or 'OnDelete'"))
	}
	if r := spec.PersistentVolumeClaimRetentionPolicy; r != nil {
		rp := p.Child("persistentVolumeClaimRetentionPolicy")
		errs = append(errs, meta.OneOf(rp.Child("whenDeleted"), r.WhenDeleted, appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType)...)
		errs = append(errs, meta.OneOf(rp.Child("whenScaled"), r.WhenScaled, appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType)...)
	}
	errs = append(errs, meta.NonNegativePtr(p.Child("replicas"), spec.Replicas)...)
	errs = append(errs, meta.NonNegative(p.Child("minReadySeconds"), spec.MinReadySeconds)...)
	errs = append(errs, meta.NonNegativePtr(p.Child("revisionHistoryLimit"), spec.RevisionHistoryLimit)...)
	if spec.Ordinals != nil {
		errs = append(errs, meta.NonNegative(p.Child("ordinals", "start"), spec.Ordinals.Start)...)
	}
	if spec.ServiceName != "" {
		errs = append(errs, meta.DNSSubdomain(p.Child("serviceName"), spec.ServiceName)...)
	}
	// The template may mount volumes that the claim templates bring.
	template := withClaimVolumes(s)
	errs = append(errs, validateWorkload(p, "statefulset", spec.Selector, template)...)
	return errs
}

func validateStatefulSetUpdate(new, old *appsv1.StatefulSet) field.ErrorList {
	errs := validateStatefulSet(new)
	same := new.Spec.DeepCopy()
	was := &defaulted(old).Spec
	same.Replicas, same.Template, same.UpdateStrategy, same.MinReadySeconds = was.Replicas, was.Template, was.UpdateStrategy, was.MinReadySeconds
	same.Ordinals, same.PersistentVolumeClaimRetentionPolicy, same.RevisionHistoryLimit = was.Ordinals, was.PersistentVolumeClaimRetentionPolicy, was.RevisionHistoryLimit
	if !apiequality.Semantic.DeepEqual(*same, *was) {
		errs = append(errs, field.Forbidden(field.NewPath("spec"), "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"))
	}
	return errs
}

func validateStatefulSetStatus(new, _ *appsv1.StatefulSet) field.ErrorList {
	p, s := field.NewPath("status"), &new.Status
	errs := core.ReplicaCounts(p, s.Replicas, 0, s.ReadyReplicas, s.AvailableReplicas, s.ObservedGeneration)
	for _, c := range []struct {
		name  string
		value int32
	}{{"currentReplicas", s.CurrentReplicas}, {"updatedReplicas", s.UpdatedReplicas}} {
		errs = append(errs, meta.NonNegative(p.Child(c.name), c.value)...)
		if c.value > s.Replicas {
			errs = append(errs, field.Invalid(p.Child(c.name), c.value, "cannot be greater than status.replicas"))
		}
	}
	return errs
}

func validateRevision(r *appsv1.ControllerRevision) field.ErrorList {
	errs := meta.NonNegative(field.NewPath("revision"), r.Revision)
	if r.Data.Raw == nil && r.Data.Object == nil {
		errs = append(errs, field.Required(field.NewPath("data"), "data is mandatory"))
	}
	return errs
}

func validateRevisionUpdate(new, old *appsv1.ControllerRevision) field.ErrorList {
	return append(validateRevision(new), meta.Immutable(field.NewPath("data"), new.Data, old.Data)...)
}
