package policy

import (
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nau/internal/api"
	"nau/internal/api/column"
	"nau/internal/api/meta"
)

func validateBudget(b *policyv1.PodDisruptionBudget) field.ErrorList {
	p, s := field.NewPath("spec"), &b.Spec
	var errs field.ErrorList
	if s.MinAvailable != nil && s.MaxUnavailable != nil {
		errs = append(errs, field.Invalid(p, s, "minAvailable and maxUnavailable cannot be both set"))
	}
	if v := s.MinAvailable; v != nil {
		errs = append(errs, meta.PositiveIntOrPercent(p.Child("minAvailable"), *v)...)
		errs = append(errs, meta.NotMoreThan100Percent(p.Child("minAvailable"), *v)...)
	}
	if v := s.MaxUnavailable; v != nil {
		errs = append(errs, meta.PositiveIntOrPercent(p.Child("maxUnavailable"), *v)...)
		errs = append(errs, meta.NotMoreThan100Percent(p.Child("maxUnavailable"), *v)...)
	}
	errs = append(errs, meta.LabelSelector(p.Child("selector"), s.Selector)...)
	if v := s.UnhealthyPodEvictionPolicy; v != nil {
		errs = append(errs, meta.OneOf(p.Child("unhealthyPodEvictionPolicy"), *v, policyv1.IfHealthyBudget, policyv1.AlwaysAllow)...)
	}
	return errs
}

func validateBudgetStatus(new, _ *policyv1.PodDisruptionBudget) field.ErrorList {
	p, s := field.NewPath("status"), &new.Status
	var errs field.ErrorList
	types := sets.New[string]()
	for i, c := range s.Conditions {
		at := p.Child("conditions").Index(i)
		if types.Has(c.Type) {
			errs = append(errs, field.Duplicate(at.Child("type"), c.Type))
		}
		types.Insert(c.Type)
		errs = append(errs, meta.QualifiedName(at.Child("type"), c.Type)...)
	}
	errs = append(errs, meta.NonNegative(p.Child("disruptionsAllowed"), s.DisruptionsAllowed)...)
	errs = append(errs, meta.NonNegative(p.Child("currentHealthy"), s.CurrentHealthy)...)
	errs = append(errs, meta.NonNegative(p.Child("desiredHealthy"), s.DesiredHealthy)...)
	return append(errs, meta.NonNegative(p.Child("expectedPods"), s.ExpectedPods)...)
}

func budgetColumns() []api.Column {
	doc := policyv1.PodDisruptionBudgetSpec{}.SwaggerDoc()
	return []api.Column{
		column.Name(),
		column.Text("Min Available", doc["minAvailable"], func(b *policyv1.PodDisruptionBudget) string {
			if b.Spec.MinAvailable == nil {
				return "N/A"
			}
			return b.Spec.MinAvailable.String()
		}),
		column.Text("Max Unavailable", doc["maxUnavailable"], func(b *policyv1.PodDisruptionBudget) string {
			if b.Spec.MaxUnavailable == nil {
				return "N/A"
			}
			return b.Spec.MaxUnavailable.String()
		}),
		column.Number("Allowed Disruptions", "Calculated number of pods that may be disrupted at this time.", func(b *policyv1.PodDisruptionBudget) int32 { return b.Status.DisruptionsAllowed }),
		column.Age(),
	}
}
