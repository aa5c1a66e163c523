package apps

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nau/internal/api/core"
	"nau/internal/api/meta"
)

func validateDeployment(d *appsv1.Deployment) field.ErrorList {
	p, s := field.NewPath("spec"), &d.Spec
	errs := meta.NonNegativePtr(p.Child("replicas"), s.Replicas)
	errs = append(errs, validateWorkload(p, "deployment", s.Selector, &s.Template)...)
	errs = append(errs, validateDeploymentStrategy(p.Child("strategy"), &s.Strategy)...)
	errs = append(errs, meta.NonNegative(p.Child("minReadySeconds"), s.MinReadySeconds)...)
	errs = append(errs, meta.NonNegativePtr(p.Child("revisionHistoryLimit"), s.RevisionHistoryLimit)...)
	if v := s.ProgressDeadlineSeconds; v != nil {
		errs = append(errs, meta.NonNegative(p.Child("progressDeadlineSeconds"), *v)...)
		if *v <= s.MinReadySeconds {
			errs = append(errs, field.Invalid(p.Child("progressDeadlineSeconds"), *v, "must be greater than minReadySeconds"))
		}
	}
	return errs
}

// validateWorkload holds what all workloads that run for ever share: a selector that is neither missing
// nor empty and selects the template's own labels, and a template that restarts.
func validateWorkload(p *field.Path, kind string, selector *metav1.LabelSelector, t *corev1.PodTemplateSpec) field.ErrorList {
	var errs field.ErrorList
	at := p.Child("selector")
	if selector == nil {
		errs = append(errs, field.Required(at, ""))
	} else {
		errs = append(errs, meta.LabelSelector(at, selector)...)
		if len(selector.MatchLabels)+len(selector.MatchExpressions) == 0 {
			errs = append(errs, field.Invalid(at, selector, "empty selector is invalid for "+kind))
		}
	}
	template := p.Child("template")
	if s, err := metav1.LabelSelectorAsSelector(selector); err != nil {
		errs = append(errs, field.Invalid(at, selector, "invalid label selector"))
	} else if selector != nil && !s.Empty() && !s.Matches(labels.Set(t.Labels)) {
		errs = append(errs, field.Invalid(template.Child("metadata", "labels"), t.Labels, "`selector` does not match template `labels`"))
	}
	errs = append(errs, core.ValidatePodTemplate(template, t)...)
	return append(errs, core.OnlyAlways(template, t)...)
}

func validateDeploymentStrategy(p *field.Path, s *appsv1.DeploymentStrategy) field.ErrorList {
	r := p.Child("rollingUpdate")
	switch s.Type {
	case appsv1.RecreateDeploymentStrategyType:
		if s.RollingUpdate != nil {
			return field.ErrorList{field.Forbidden(r, "may not be specified when strategy `type` is '"+string(appsv1.RecreateDeploymentStrategyType)+"'")}
		}
	case appsv1.RollingUpdateDeploymentStrategyType:
		if s.RollingUpdate == nil {
			return field.ErrorList{field.Required(r, "this should be defaulted and never be nil")}
		}
		return validateRolling(r, s.RollingUpdate.MaxUnavailable, s.RollingUpdate.MaxSurge)
	default:
		return field.ErrorList{field.NotSupported(p, s.Type, []appsv1.DeploymentStrategyType{appsv1.RecreateDeploymentStrategyType, appsv1.RollingUpdateDeploymentStrategyType})}
	}
	return nil
}

func validateRolling(p *field.Path, unavailable, surge *intstr.IntOrString) field.ErrorList {
	var errs field.ErrorList
	if unavailable != nil {
		errs = append(errs, meta.PositiveIntOrPercent(p.Child("maxUnavailable"), *unavailable)...)
		errs = append(errs, meta.NotMoreThan100Percent(p.Child("maxUnavailable"), *unavailable)...)
	}
	if surge != nil {
		errs = append(errs, meta.PositiveIntOrPercent(p.Child("maxSurge"), *surge)...)
	}
	if unavailable != nil && surge != nil && zero(*unavailable) && zero(*surge) {
		errs = append(errs, field.Invalid(p.Child("maxUnavailable"), *unavailable, "may not be 0 when `maxSurge` is 0"))
	}
	return errs
}

func zero(v intstr.IntOrString) bool {
	if percent, is := meta.Percent(v); is {
		return percent == 0
	}
	return v.IntValue() == 0
}

func validateDeploymentUpdate(new, old *appsv1.Deployment) field.ErrorList {
	return append(validateDeployment(new), meta.Immutable(field.NewPath("spec", "selector"), new.Spec.Selector, old.Spec.Selector)...)
}

func validateDeploymentStatus(new, old *appsv1.Deployment) field.ErrorList {
	p, s := field.NewPath("status"), &new.Status
	errs := core.ReplicaCounts(p, s.Replicas, s.Replicas, s.ReadyReplicas, s.AvailableReplicas, s.ObservedGeneration)
	errs = append(errs, meta.NonNegative(p.Child("updatedReplicas"), s.UpdatedReplicas)...)
	errs = append(errs, meta.NonNegative(p.Child("unavailableReplicas"), s.UnavailableReplicas)...)
	errs = append(errs, meta.NonNegativePtr(p.Child("collisionCount"), s.CollisionCount)...)
	if s.UpdatedReplicas > s.Replicas {
		errs = append(errs, field.Invalid(p.Child("updatedReplicas"), s.UpdatedReplicas, "cannot be greater than status.replicas"))
	}
	return append(errs, collisions(p, s.CollisionCount, old.Status.CollisionCount)...)
}

func collisions(p *field.Path, new, old *int32) field.ErrorList {
	is, was := int32(0), int32(0)
	if new != nil {
		is = *new
	}
	if old != nil {
		was = *old
	}
	if is < was {
		return field.ErrorList{field.Invalid(p.Child("collisionCount"), is, "cannot be decremented")}
	}
	return nil
}
