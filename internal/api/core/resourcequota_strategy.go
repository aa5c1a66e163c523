package core

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nau/internal/api"
	"nau/internal/api/column"
	"nau/internal/api/meta"
)

func defaultQuota(q *corev1.ResourceQuota) {
	roundUp(q.Spec.Hard)
	roundUp(q.Status.Hard)
	roundUp(q.Status.Used)
}

var quotaScopes = []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeBestEffort,
	corev1.ResourceQuotaScopeNotBestEffort, corev1.ResourceQuotaScopePriorityClass, corev1.ResourceQuotaScopeCrossNamespacePodAffinity, corev1.ResourceQuotaScopeVolumeAttributesClass}

func validateQuota(q *corev1.ResourceQuota) field.ErrorList {
	p := field.NewPath("spec")
	errs := validateQuotaList(p.Child("hard"), q.Spec.Hard)
	scopes := sets.New[corev1.ResourceQuotaScope]()
	for _, s := range q.Spec.Scopes {
		if !slices.Contains(quotaScopes, s) {
			errs = append(errs, field.Invalid(p.Child("scopes"), q.Spec.Scopes, "unsupported scope"))
		}
		scopes.Insert(s)
	}
	for i, pair := range [][2]corev1.ResourceQuotaScope{
		{corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort},
		{corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating},
	} {
		if scopes.HasAll(pair[0], pair[1]) {
			errs = append(errs, field.Invalid(p.Child("scopes"), q.Spec.Scopes, fmt.Sprintf("conflicting scopes, pair %d", i)))
		}
	}
	if q.Spec.ScopeSelector == nil {
		return errs
	}
	for _, r := range q.Spec.ScopeSelector.MatchExpressions {
		at := p.Child("scopeSelector", "matchExpressions")
		if !slices.Contains(quotaScopes, r.ScopeName) {
			errs = append(errs, field.Invalid(at.Child("scopeName"), r.ScopeName, "unsupported scope"))
		}
		switch r.Operator {
		case corev1.ScopeSelectorOpIn, corev1.ScopeSelectorOpNotIn:
			if len(r.Values) == 0 {
				errs = append(errs, field.Required(at.Child("values"), "must be atleast one value when `operator` is 'In' or 'NotIn' for scope selector"))
			}
		case corev1.ScopeSelectorOpExists, corev1.ScopeSelectorOpDoesNotExist:
			if len(r.Values) != 0 {
				errs = append(errs, field.Invalid(at.Child("values"), r.Values, "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"))
			}
		default:
			errs = append(errs, field.Invalid(at.Child("operator"), r.Operator, "not a valid selector operator"))
		}
	}
	return errs
}

func validateQuotaList(p *field.Path, list corev1.ResourceList) field.ErrorList {
	var errs field.ErrorList
	for _, name := range sortedResources(list) {
		at := p.Key(string(name))
		if errsName := meta.QualifiedName(at, string(name)); len(errsName) > 0 {
			errs = append(errs, errsName...)
		} else if !strings.Contains(string(name), "/") && !anyStandard(string(name)) {
			errs = append(errs, field.Invalid(at, string(name), notStandardOrQualified))
		}
		errs = append(errs, ValidateQuantity(at, name, list[name])...)
	}
	return errs
}

func validateQuotaUpdate(new, old *corev1.ResourceQuota) field.ErrorList {
	errs := validateQuota(new)
	if !apiequality.Semantic.DeepEqual(sets.New(new.Spec.Scopes...), sets.New(old.Spec.Scopes...)) {
		errs = append(errs, field.Invalid(field.NewPath("spec", "scopes"), new.Spec.Scopes, "field is immutable"))
	}
	return errs
}

func validateQuotaStatus(new, _ *corev1.ResourceQuota) field.ErrorList {
	errs := validateQuotaList(field.NewPath("status", "hard"), new.Status.Hard)
	return append(errs, validateQuotaList(field.NewPath("status", "used"), new.Status.Used)...)
}

func quotaColumns() []api.Column {
	doc := corev1.ResourceQuotaStatus{}.SwaggerDoc()
	part := func(limits bool) func(*corev1.ResourceQuota) string {
		return func(q *corev1.ResourceQuota) string {
			var out []string
			for _, name := range sortedResources(q.Status.Hard) {
				if strings.HasPrefix(string(name), "limits") != limits {
					continue
				}
				used, hard := q.Status.Used[name], q.Status.Hard[name]
				out = append(out, fmt.Sprintf("%s: %s/%s", name, used.String(), hard.String()))
			}
			return strings.Join(out, ", ")
		}
	}
	return []api.Column{
		column.Name(),
		column.Text("Request", doc["hard"], part(false)),
		column.Text("Limit", doc["hard"], part(true)),
		column.Age(),
	}
}
