package meta

import (
	"fmt"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Invalid makes one error per message, as apimachinery's validation functions return them.
func Invalid(p *field.Path, value any, messages []string) field.ErrorList {
	var errs field.ErrorList
	for _, m := range messages {
		errs = append(errs, field.Invalid(p, value, m))
	}
	return errs
}

// DNSLabel checks an RFC 1123 label.
func DNSLabel(p *field.Path, value string) field.ErrorList {
	return Invalid(p, value, validation.IsDNS1123Label(value))
}

// DNSSubdomain checks an RFC 1123 subdomain.
func DNSSubdomain(p *field.Path, value string) field.ErrorList {
	return Invalid(p, value, validation.IsDNS1123Subdomain(value))
}

// QualifiedName checks a key as labels have: optional prefix, slash, name.
func QualifiedName(p *field.Path, value string) field.ErrorList {
	return Invalid(p, value, validation.IsQualifiedName(value))
}

// Required reports an empty value.
func Required(p *field.Path, value string) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(p, "")}
	}
	return nil
}

// RequiredName reports an empty value or one that is no DNS subdomain.
func RequiredName(p *field.Path, value string) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(p, "")}
	}
	return DNSSubdomain(p, value)
}

// OneOf reports a value outside the set; an empty one as required.
func OneOf[T ~string](p *field.Path, value T, allowed ...T) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(p, "")}
	}
	return OneOfOrEmpty(p, value, allowed...)
}

// OneOfOrEmpty reports a value outside the set, the empty one apart.
func OneOfOrEmpty[T ~string](p *field.Path, value T, allowed ...T) field.ErrorList {
	if value == "" || sets.New(allowed...).Has(value) {
		return nil
	}
	return field.ErrorList{field.NotSupported(p, value, sets.List(sets.New(allowed...)))}
}

// Immutable reports a change.
func Immutable(p *field.Path, new, old any) field.ErrorList {
	if apiequality.Semantic.DeepEqual(new, old) {
		return nil
	}
	return field.ErrorList{field.Invalid(p, new, apivalidation.FieldImmutableErrorMsg)}
}

// NonNegative reports a value below zero.
func NonNegative[T int | int32 | int64](p *field.Path, value T) field.ErrorList {
	return apivalidation.ValidateNonnegativeField(int64(value), p)
}

// NonNegativePtr is NonNegative for optional values.
func NonNegativePtr[T int | int32 | int64](p *field.Path, value *T) field.ErrorList {
	if value == nil {
		return nil
	}
	return NonNegative(p, *value)
}

// Positive reports a value below one.
func Positive[T int | int32 | int64](p *field.Path, value T) field.ErrorList {
	if value <= 0 {
		return field.ErrorList{field.Invalid(p, value, "must be greater than 0").WithOrigin("minimum")}
	}
	return nil
}

// InRange reports a value outside [lo, hi].
func InRange[T int | int32 | int64](p *field.Path, value, lo, hi T) field.ErrorList {
	if value < lo || value > hi {
		return field.ErrorList{field.Invalid(p, value, validation.InclusiveRangeError(int(lo), int(hi)))}
	}
	return nil
}

// Port reports a port number outside 1..65535.
func Port(p *field.Path, value int32) field.ErrorList {
	return Invalid(p, value, validation.IsValidPortNum(int(value)))
}

// PortNumOrName checks a port given by number or by name.
func PortNumOrName(p *field.Path, value intstr.IntOrString) field.ErrorList {
	switch value.Type {
	case intstr.Int:
		return Invalid(p, value.IntValue(), validation.IsValidPortNum(value.IntValue()))
	case intstr.String:
		return Invalid(p, value.StrVal, validation.IsValidPortName(value.StrVal))
	}
	return field.ErrorList{field.InternalError(p, fmt.Errorf("unknown type: %v", value.Type))}
}

// PositiveIntOrPercent checks a count or a percentage, neither below zero.
func PositiveIntOrPercent(p *field.Path, value intstr.IntOrString) field.ErrorList {
	switch value.Type {
	case intstr.String:
		return Invalid(p, value, validation.IsValidPercent(value.StrVal))
	case intstr.Int:
		return NonNegative(p, value.IntValue())
	}
	return field.ErrorList{field.Invalid(p, value, "must be an integer or percentage (e.g '5%%')")}
}

// NotMoreThan100Percent reports a percentage above 100.
func NotMoreThan100Percent(p *field.Path, value intstr.IntOrString) field.ErrorList {
	if percent, is := Percent(value); is && percent > 100 {
		return field.ErrorList{field.Invalid(p, value, "must not be greater than 100%")}
	}
	return nil
}

// Percent reads a percentage; false if the value is none.
func Percent(value intstr.IntOrString) (int, bool) {
	if value.Type != intstr.String || len(validation.IsValidPercent(value.StrVal)) > 0 {
		return 0, false
	}
	var n int
	if _, err := fmt.Sscanf(value.StrVal, "%d%%", &n); err != nil {
		return 0, false
	}
	return n, true
}

// Labels checks a map of labels.
func Labels(p *field.Path, labels map[string]string) field.ErrorList {
	return metav1validation.ValidateLabels(labels, p)
}

// LabelSelector checks a selector; nil is fine.
func LabelSelector(p *field.Path, s *metav1.LabelSelector) field.ErrorList {
	return metav1validation.ValidateLabelSelector(s, metav1validation.LabelSelectorValidationOptions{}, p)
}
