package autoscaling

import (
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nau/internal/api/meta"
)

const (
	maxPeriod = 1800
	maxWindow = 3600
)

func validate(h *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	p, s := field.NewPath("spec"), &h.Spec
	var errs field.ErrorList
	if s.MinReplicas != nil && *s.MinReplicas < 1 && !scalesToZero(s) {
		errs = append(errs, field.Invalid(p.Child("minReplicas"), *s.MinReplicas, "must be greater than or equal to 1"))
	}
	if s.MaxReplicas < 1 {
		errs = append(errs, field.Invalid(p.Child("maxReplicas"), s.MaxReplicas, "must be greater than 0"))
	}
	if s.MinReplicas != nil && s.MaxReplicas < *s.MinReplicas {
		errs = append(errs, field.Invalid(p.Child("maxReplicas"), s.MaxReplicas, "must be greater than or equal to `minReplicas`"))
	}
	errs = append(errs, validateRef(p.Child("scaleTargetRef"), s.ScaleTargetRef)...)
	for i := range s.Metrics {
		errs = append(errs, validateMetric(p.Child("metrics").Index(i), &s.Metrics[i])...)
	}
	if b := s.Behavior; b != nil {
		errs = append(errs, validateRules(p.Child("behavior", "scaleUp"), b.ScaleUp)...)
		errs = append(errs, validateRules(p.Child("behavior", "scaleDown"), b.ScaleDown)...)
	}
	return errs
}

// scalesToZero: only metrics that do not come from the pods themselves can tell when to start again.
func scalesToZero(s *autoscalingv2.HorizontalPodAutoscalerSpec) bool {
	if *s.MinReplicas < 0 {
		return false
	}
	for _, m := range s.Metrics {
		if m.Type == autoscalingv2.ObjectMetricSourceType || m.Type == autoscalingv2.ExternalMetricSourceType {
			return true
		}
	}
	return false
}

func validateRef(p *field.Path, r autoscalingv2.CrossVersionObjectReference) field.ErrorList {
	var errs field.ErrorList
	for _, f := range []struct{ name, value string }{{"kind", r.Kind}, {"name", r.Name}} {
		if f.value == "" {
			errs = append(errs, field.Required(p.Child(f.name), ""))
			continue
		}
		errs = append(errs, meta.Invalid(p.Child(f.name), f.value, path.IsValidPathSegmentName(f.value))...)
	}
	return errs
}

func validateMetric(p *field.Path, m *autoscalingv2.MetricSpec) field.ErrorList {
	if m.Type == "" {
		return field.ErrorList{field.Required(p.Child("type"), "must specify a metric source type")}
	}
	types := []autoscalingv2.MetricSourceType{autoscalingv2.ObjectMetricSourceType, autoscalingv2.PodsMetricSourceType, autoscalingv2.ResourceMetricSourceType,
		autoscalingv2.ContainerResourceMetricSourceType, autoscalingv2.ExternalMetricSourceType}
	errs := meta.OneOf(p.Child("type"), m.Type, types...)
	n := 0
	part := func(name string, kind autoscalingv2.MetricSourceType, set bool, check func(at *field.Path) field.ErrorList) {
		switch {
		case set:
			n++
			if n > 1 {
				errs = append(errs, field.Forbidden(p.Child(name), "must populate the given metric source only"))
				return
			}
			errs = append(errs, check(p.Child(name))...)
		case m.Type == kind:
			errs = append(errs, field.Required(p.Child(name), "must populate information for the given metric source"))
		}
	}
	part("object", autoscalingv2.ObjectMetricSourceType, m.Object != nil, func(at *field.Path) field.ErrorList {
		own := validateRef(at.Child("describedObject"), m.Object.DescribedObject)
		own = append(own, validateIdentifier(at.Child("metric"), m.Object.Metric)...)
		return append(own, validateTarget(at.Child("target"), m.Object.Target, false, "must specify either value or averageValue")...)
	})
	part("external", autoscalingv2.ExternalMetricSourceType, m.External != nil, func(at *field.Path) field.ErrorList {
		own := validateIdentifier(at.Child("metric"), m.External.Metric)
		return append(own, validateTarget(at.Child("target"), m.External.Target, false, "must set either a target value for metric or a per-pod target")...)
	})
	part("pods", autoscalingv2.PodsMetricSourceType, m.Pods != nil, func(at *field.Path) field.ErrorList {
		own := validateIdentifier(at.Child("metric"), m.Pods.Metric)
		if m.Pods.Target.AverageValue == nil || m.Pods.Target.AverageValue.Sign() != 1 {
			own = append(own, field.Required(at.Child("target", "averageValue"), "must specify a positive target averageValue"))
		}
		return own
	})
	part("containerResource", autoscalingv2.ContainerResourceMetricSourceType, m.ContainerResource != nil, func(at *field.Path) field.ErrorList {
		own := meta.Required(at.Child("name"), string(m.ContainerResource.Name))
		own = append(own, meta.Required(at.Child("container"), m.ContainerResource.Container)...)
		return append(own, validateTarget(at.Child("target"), m.ContainerResource.Target, true, "must set either a target raw value or a target utilization")...)
	})
	part("resource", autoscalingv2.ResourceMetricSourceType, m.Resource != nil, func(at *field.Path) field.ErrorList {
		own := meta.Required(at.Child("name"), string(m.Resource.Name))
		return append(own, validateTarget(at.Child("target"), m.Resource.Target, true, "must set either a target raw value or a target utilization")...)
	})
	return errs
}

func validateIdentifier(p *field.Path, m autoscalingv2.MetricIdentifier) field.ErrorList {
	if m.Name == "" {
		return field.ErrorList{field.Required(p.Child("name"), "must specify a metric name")}
	}
	return meta.Invalid(p.Child("name"), m.Name, path.IsValidPathSegmentName(m.Name))
}

func validateTarget(p *field.Path, t autoscalingv2.MetricTarget, utilization bool, missing string) field.ErrorList {
	var errs field.ErrorList
	if t.Type == "" {
		errs = append(errs, field.Required(p.Child("type"), "must specify a metric target type"))
	} else {
		errs = append(errs, meta.OneOf(p.Child("type"), t.Type, autoscalingv2.UtilizationMetricType, autoscalingv2.ValueMetricType, autoscalingv2.AverageValueMetricType)...)
	}
	positive := func(name string, q *resource.Quantity) {
		if q != nil && q.Sign() != 1 {
			errs = append(errs, field.Invalid(p.Child(name), q.String(), "must be positive"))
		}
	}
	positive("value", t.Value)
	positive("averageValue", t.AverageValue)
	if t.AverageUtilization != nil && *t.AverageUtilization < 1 {
		errs = append(errs, field.Invalid(p.Child("averageUtilization"), *t.AverageUtilization, "must be greater than 0"))
	}
	other := t.Value != nil
	name := "value"
	if utilization {
		other, name = t.AverageUtilization != nil, "averageUtilization"
	}
	switch {
	case !other && t.AverageValue == nil:
		errs = append(errs, field.Required(p.Child(name), missing))
	case other && t.AverageValue != nil:
		errs = append(errs, field.Forbidden(p.Child("averageValue"), "may not set both "+name+" and averageValue"))
	}
	return errs
}

func validateRules(p *field.Path, r *autoscalingv2.HPAScalingRules) field.ErrorList {
	if r == nil {
		return nil
	}
	var errs field.ErrorList
	if v := r.StabilizationWindowSeconds; v != nil {
		errs = append(errs, meta.NonNegative(p.Child("stabilizationWindowSeconds"), *v)...)
		if *v > maxWindow {
			errs = append(errs, field.Invalid(p.Child("stabilizationWindowSeconds"), *v, "must be less than or equal to 3600"))
		}
	}
	if v := r.SelectPolicy; v != nil {
		errs = append(errs, meta.OneOf(p.Child("selectPolicy"), *v, autoscalingv2.MaxChangePolicySelect, autoscalingv2.MinChangePolicySelect, autoscalingv2.DisabledPolicySelect)...)
	}
	if len(r.Policies) == 0 {
		errs = append(errs, field.Required(p.Child("policies"), "must specify at least one Policy"))
	}
	for i, policy := range r.Policies {
		at := p.Child("policies").Index(i)
		errs = append(errs, meta.OneOf(at.Child("type"), policy.Type, autoscalingv2.PodsScalingPolicy, autoscalingv2.PercentScalingPolicy)...)
		if policy.Value <= 0 {
			errs = append(errs, field.Invalid(at.Child("value"), policy.Value, "must be greater than zero"))
		}
		if policy.PeriodSeconds <= 0 {
			errs = append(errs, field.Invalid(at.Child("periodSeconds"), policy.PeriodSeconds, "must be greater than zero"))
		}
		if policy.PeriodSeconds > maxPeriod {
			errs = append(errs, field.Invalid(at.Child("periodSeconds"), policy.PeriodSeconds, "must be less than or equal to 1800"))
		}
	}
	if r.Tolerance != nil && r.Tolerance.Sign() < 0 {
		errs = append(errs, field.Invalid(p.Child("tolerance"), r.Tolerance.String(), "must be greater than or equal to 0"))
	}
	return errs
}

func validateStatus(new, _ *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	p := field.NewPath("status")
	errs := meta.NonNegative(p.Child("currentReplicas"), new.Status.CurrentReplicas)
	return append(errs, meta.NonNegative(p.Child("desiredReplicas"), new.Status.DesiredReplicas)...)
}
