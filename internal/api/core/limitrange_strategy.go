package core

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nau/internal/api/meta"
)

// defaultLimitRange: for containers, the default limit is the maximum, the default request the default
// limit, or else the minimum.
func defaultLimitRange(l *corev1.LimitRange) {
	for i := range l.Spec.Limits {
		item := &l.Spec.Limits[i]
		for _, list := range []corev1.ResourceList{item.Max, item.Min, item.Default, item.DefaultRequest, item.MaxLimitRequestRatio} {
			roundUp(list)
		}
		if item.Type != corev1.LimitTypeContainer {
			continue
		}
		fill := func(into *corev1.ResourceList, from corev1.ResourceList) {
			for name, q := range from {
				if *into == nil {
					*into = corev1.ResourceList{}
				}
				if _, set := (*into)[name]; !set {
					(*into)[name] = q.DeepCopy()
				}
			}
		}
		if item.Default == nil {
			item.Default = corev1.ResourceList{}
		}
		if item.DefaultRequest == nil {
			item.DefaultRequest = corev1.ResourceList{}
		}
		fill(&item.Default, item.Max)
		fill(&item.DefaultRequest, item.Default)
		fill(&item.DefaultRequest, item.Min)
	}
}

func validateLimitRange(l *corev1.LimitRange) field.ErrorList {
	var errs field.ErrorList
	types := sets.New[corev1.LimitType]()
	for i, item := range l.Spec.Limits {
		p := field.NewPath("spec", "limits").Index(i)
		standard := item.Type == corev1.LimitTypePod || item.Type == corev1.LimitTypeContainer || item.Type == corev1.LimitTypePersistentVolumeClaim
		if item.Type == "" || !standard && len(meta.QualifiedName(p.Child("type"), string(item.Type))) > 0 {
			errs = append(errs, meta.QualifiedName(p.Child("type"), string(item.Type))...)
		}
		if types.Has(item.Type) {
			errs = append(errs, field.Duplicate(p.Child("type"), item.Type))
		}
		types.Insert(item.Type)
		if item.Type == corev1.LimitTypePod {
			if len(item.Default) > 0 {
				errs = append(errs, field.Forbidden(p.Child("default"), "may not be specified when `type` is 'Pod'"))
			}
			if len(item.DefaultRequest) > 0 {
				errs = append(errs, field.Forbidden(p.Child("defaultRequest"), "may not be specified when `type` is 'Pod'"))
			}
		}
		if item.Type == corev1.LimitTypePersistentVolumeClaim {
			_, min := item.Min[corev1.ResourceStorage]
			_, max := item.Max[corev1.ResourceStorage]
			if !min && !max {
				errs = append(errs, field.Required(p.Child("limits"), "either minimum or maximum storage value is required, but neither was provided"))
			}
		}
		names := sets.New[corev1.ResourceName]()
		for part, list := range map[string]corev1.ResourceList{"max": item.Max, "min": item.Min, "default": item.Default, "defaultRequest": item.DefaultRequest, "maxLimitRequestRatio": item.MaxLimitRequestRatio} {
			for name := range list {
				names.Insert(name)
				errs = append(errs, validateResourceName(p.Child(part).Key(string(name)), string(name), otherStandard)...)
			}
		}
		for _, name := range sets.List(names) {
			key := string(name)
			min, hasMin := item.Min[name]
			max, hasMax := item.Max[name]
			def, hasDef := item.Default[name]
			req, hasReq := item.DefaultRequest[name]
			ratio, hasRatio := item.MaxLimitRequestRatio[name]
			bad := func(part string, value, what, other string) {
				errs = append(errs, field.Invalid(p.Child(part).Key(key), value, fmt.Sprintf("%s value %s is greater than %s value %s", part, value, what, other)))
			}
			if hasMin && hasMax && min.Cmp(max) > 0 {
				bad("min", min.String(), "max", max.String())
			}
			if hasReq && hasMin && min.Cmp(req) > 0 {
				errs = append(errs, field.Invalid(p.Child("defaultRequest").Key(key), req.String(), fmt.Sprintf("min value %s is greater than default request value %s", min.String(), req.String())))
			}
			if hasReq && hasMax && req.Cmp(max) > 0 {
				errs = append(errs, field.Invalid(p.Child("defaultRequest").Key(key), req.String(), fmt.Sprintf("default request value %s is greater than max value %s", req.String(), max.String())))
			}
			if hasReq && hasDef && req.Cmp(def) > 0 {
				errs = append(errs, field.Invalid(p.Child("defaultRequest").Key(key), req.String(), fmt.Sprintf("default request value %s is greater than default limit value %s", req.String(), def.String())))
			}
			if hasDef && hasMin && min.Cmp(def) > 0 {
				errs = append(errs, field.Invalid(p.Child("default").Key(key), min.String(), fmt.Sprintf("min value %s is greater than default value %s", min.String(), def.String())))
			}
			if hasDef && hasMax && def.Cmp(max) > 0 {
				errs = append(errs, field.Invalid(p.Child("default").Key(key), max.String(), fmt.Sprintf("default value %s is greater than max value %s", def.String(), max.String())))
			}
			if hasRatio && ratio.MilliValue() < 1000 {
				errs = append(errs, field.Invalid(p.Child("maxLimitRequestRatio").Key(key), ratio.String(), fmt.Sprintf("ratio %s is less than 1", ratio.String())))
			}
			if hasRatio && hasMin && hasMax && min.Sign() > 0 && float64(ratio.MilliValue())/1000 > float64(max.MilliValue())/float64(min.MilliValue()) {
				errs = append(errs, field.Invalid(p.Child("maxLimitRequestRatio").Key(key), ratio.String(), fmt.Sprintf("ratio %s is greater than max/min = %f", ratio.String(), float64(max.MilliValue())/float64(min.MilliValue()))))
			}
		}
	}
	return errs
}
