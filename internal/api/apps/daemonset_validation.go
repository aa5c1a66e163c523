package apps

import (
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nau/internal/api/meta"
)

func validateDaemonSet(d *appsv1.DaemonSet) field.ErrorList {
	p, s := field.NewPath("spec"), &d.Spec
	errs := validateWorkload(p, "daemonset", s.Selector, &s.Template)
	errs = append(errs, meta.NonNegative(p.Child("minReadySeconds"), s.MinReadySeconds)...)
	errs = append(errs, meta.NonNegativePtr(p.Child("revisionHistoryLimit"), s.RevisionHistoryLimit)...)
	at := p.Child("updateStrategy")
	switch s.UpdateStrategy.Type {
	case appsv1.OnDeleteDaemonSetStrategyType:
	case appsv1.RollingUpdateDaemonSetStrategyType:
		r, rp := s.UpdateStrategy.RollingUpdate, at.Child("rollingUpdate")
		if r == nil {
			errs = append(errs, field.Required(rp, ""))
			break
		}
		if r.MaxUnavailable != nil {
			errs = append(errs, meta.PositiveIntOrPercent(rp.Child("maxUnavailable"), *r.MaxUnavailable)...)
			errs = append(errs, meta.NotMoreThan100Percent(rp.Child("maxUnavailable"), *r.MaxUnavailable)...)
		}
		if r.MaxSurge != nil {
			errs = append(errs, meta.PositiveIntOrPercent(rp.Child("maxSurge"), *r.MaxSurge)...)
			errs = append(errs, meta.NotMoreThan100Percent(rp.Child("maxSurge"), *r.MaxSurge)...)
		}
		unavailable := r.MaxUnavailable != nil && !zero(*r.MaxUnavailable)
		surge := r.MaxSurge != nil && !zero(*r.MaxSurge)
		switch {
		case unavailable && surge:
			errs = append(errs, field.Invalid(rp.Child("maxSurge"), r.MaxSurge, "may not be set when maxUnavailable is non-zero"))
		case !unavailable && !surge:
			errs = append(errs, field.Required(rp.Child("maxUnavailable"), "cannot be 0 when maxSurge is 0"))
		}
	default:
		errs = append(errs, field.NotSupported(at, s.UpdateStrategy.Type, []appsv1.DaemonSetUpdateStrategyType{appsv1.RollingUpdateDaemonSetStrategyType, appsv1.OnDeleteDaemonSetStrategyType}))
	}
	return errs
}

func validateDaemonSetUpdate(new, old *appsv1.DaemonSet) field.ErrorList {
	return append(validateDaemonSet(new), meta.Immutable(field.NewPath("spec", "selector"), new.Spec.Selector, old.Spec.Selector)...)
}

func validateDaemonSetStatus(new, old *appsv1.DaemonSet) field.ErrorList {
	p, s := field.NewPath("status"), &new.Status
	var errs field.ErrorList
	for _, c := range []struct {
		name  string
		value int32
	}{
		{"currentNumberScheduled", s.CurrentNumberScheduled}, {"numberMisscheduled", s.NumberMisscheduled}, {"desiredNumberScheduled", s.DesiredNumberScheduled},
		{"numberReady", s.NumberReady}, {"updatedNumberScheduled", s.UpdatedNumberScheduled}, {"numberAvailable", s.NumberAvailable}, {"numberUnavailable", s.NumberUnavailable},
	} {
		errs = append(errs, meta.NonNegative(p.Child(c.name), c.value)...)
	}
	errs = append(errs, meta.NonNegative(p.Child("observedGeneration"), s.ObservedGeneration)...)
	return append(errs, collisions(p, s.CollisionCount, old.Status.CollisionCount)...)
}
