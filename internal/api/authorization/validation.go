package authorization

import (
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const exactlyOne = "exactly one of nonResourceAttributes or resourceAttributes must be specified"

func validateAttributes(p *field.Path, resource *authorizationv1.ResourceAttributes, url *authorizationv1.NonResourceAttributes) field.ErrorList {
	switch {
	case resource != nil && url != nil:
		return field.ErrorList{field.Invalid(p.Child("nonResourceAttributes"), url, "cannot be specified in combination with resourceAttributes")}
	case resource == nil && url == nil:
		return field.ErrorList{field.Invalid(p.Child("resourceAttributes"), url, exactlyOne)}
	}
	return nil
}

func validateSubject(s *authorizationv1.SubjectAccessReview) field.ErrorList {
	return validateSpec(field.NewPath("spec"), &s.Spec)
}

func validateSpec(p *field.Path, s *authorizationv1.SubjectAccessReviewSpec) field.ErrorList {
	errs := validateAttributes(p, s.ResourceAttributes, s.NonResourceAttributes)
	if s.User == "" && len(s.Groups) == 0 {
		errs = append(errs, field.Invalid(p.Child("user"), s.User, "at least one of user or group must be specified"))
	}
	return errs
}

func validateSelf(s *authorizationv1.SelfSubjectAccessReview) field.ErrorList {
	return validateAttributes(field.NewPath("spec"), s.Spec.ResourceAttributes, s.Spec.NonResourceAttributes)
}

// validateLocal: a review in a namespace asks about that namespace, and about nothing without one.
func validateLocal(s *authorizationv1.LocalSubjectAccessReview) field.ErrorList {
	p := field.NewPath("spec")
	errs := validateSpec(p, &s.Spec)
	if r := s.Spec.ResourceAttributes; r != nil && r.Namespace != s.Namespace {
		errs = append(errs, field.Invalid(p.Child("resourceAttributes", "namespace"), r.Namespace, "must match metadata.namespace"))
	}
	if s.Spec.NonResourceAttributes != nil {
		errs = append(errs, field.Invalid(p.Child("nonResourceAttributes"), s.Spec.NonResourceAttributes, "disallowed on this kind of request"))
	}
	return errs
}
