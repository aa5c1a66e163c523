package authz

import (
	"context"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nau/internal/apiserver/identity"
)

// Review answers a SubjectAccessReview: it returns it with its status filled. Errors are API status errors.
func Review(ctx context.Context, z Authorizer, r *authorizationv1.SubjectAccessReview) (*authorizationv1.SubjectAccessReview, error) {
	if errs := validate(r.Spec, field.NewPath("spec")); len(errs) > 0 {
		return nil, invalid("SubjectAccessReview", errs)
	}
	out := r.DeepCopy()
	out.Status = decide(ctx, z, r.Spec)
	return out, nil
}

// ReviewLocal answers a LocalSubjectAccessReview in its namespace.
func ReviewLocal(ctx context.Context, z Authorizer, namespace string, r *authorizationv1.LocalSubjectAccessReview) (*authorizationv1.LocalSubjectAccessReview, error) {
	spec := field.NewPath("spec")
	errs := validate(r.Spec, spec)
	if ra := r.Spec.ResourceAttributes; ra != nil && ra.Namespace != namespace {
		errs = append(errs, field.Invalid(spec.Child("resourceAttributes", "namespace"), ra.Namespace, "must match metadata.namespace"))
	}
	if r.Spec.NonResourceAttributes != nil {
		errs = append(errs, field.Invalid(spec.Child("nonResourceAttributes"), r.Spec.NonResourceAttributes, "disallowed on this kind of request"))
	}
	if len(errs) > 0 {
		return nil, invalid("LocalSubjectAccessReview", errs)
	}
	out := r.DeepCopy()
	out.Status = decide(ctx, z, r.Spec)
	return out, nil
}

// ReviewSelf answers a SelfSubjectAccessReview for the caller.
func ReviewSelf(ctx context.Context, z Authorizer, u *identity.User, r *authorizationv1.SelfSubjectAccessReview) (*authorizationv1.SelfSubjectAccessReview, error) {
	spec := specOf(u)
	spec.ResourceAttributes, spec.NonResourceAttributes = r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes
	if errs := validate(spec, field.NewPath("spec")); len(errs) > 0 {
		return nil, invalid("SelfSubjectAccessReview", errs)
	}
	out := r.DeepCopy()
	out.Status = decide(ctx, z, spec)
	return out, nil
}

// ReviewRules answers a SelfSubjectRulesReview for the caller.
func ReviewRules(ctx context.Context, z RuleResolver, u *identity.User, r *authorizationv1.SelfSubjectRulesReview) (*authorizationv1.SelfSubjectRulesReview, error) {
	if r.Spec.Namespace == "" {
		return nil, apierrors.NewBadRequest("no namespace on request")
	}
	rules, incomplete, err := z.RulesFor(ctx, u, r.Spec.Namespace)
	out := r.DeepCopy()
	out.Status = authorizationv1.SubjectRulesReviewStatus{Incomplete: incomplete, ResourceRules: rules.Resource, NonResourceRules: rules.NonResource}
	if out.Status.ResourceRules == nil {
		out.Status.ResourceRules = []authorizationv1.ResourceRule{}
	}
	if out.Status.NonResourceRules == nil {
		out.Status.NonResourceRules = []authorizationv1.NonResourceRule{}
	}
	if err != nil {
		out.Status.EvaluationError = err.Error()
	}
	return out, nil
}

func decide(ctx context.Context, z Authorizer, spec authorizationv1.SubjectAccessReviewSpec) authorizationv1.SubjectAccessReviewStatus {
	a, parseErr := attributesOf(spec)
	d, reason, err := z.Authorize(ctx, a)
	st := authorizationv1.SubjectAccessReviewStatus{Allowed: d == Allow, Denied: d == Deny, Reason: reason}
	for _, e := range []error{err, parseErr} {
		if e != nil {
			st.EvaluationError = e.Error()
			break
		}
	}
	return st
}

func specOf(u *identity.User) authorizationv1.SubjectAccessReviewSpec {
	s := authorizationv1.SubjectAccessReviewSpec{User: u.Name, UID: u.UID, Groups: u.Groups}
	for k, v := range u.Extra {
		if s.Extra == nil {
			s.Extra = map[string]authorizationv1.ExtraValue{}
		}
		s.Extra[k] = v
	}
	return s
}

// attributesOf reads a review's question. An error tells of selectors that could not be read: the question then counts as one without them,
// which asks for more.
func attributesOf(s authorizationv1.SubjectAccessReviewSpec) (Attributes, error) {
	u := &identity.User{Name: s.User, UID: s.UID, Groups: s.Groups}
	for k, v := range s.Extra {
		if u.Extra == nil {
			u.Extra = map[string][]string{}
		}
		u.Extra[k] = v
	}
	if n := s.NonResourceAttributes; n != nil {
		return Attributes{User: u, Verb: n.Verb, Path: n.Path}, nil
	}
	r := s.ResourceAttributes
	a := Attributes{User: u, Verb: r.Verb, Namespace: r.Namespace, APIGroup: r.Group, APIVersion: r.Version, Resource: r.Resource,
		Subresource: r.Subresource, Name: r.Name, ResourceRequest: true}
	var err error
	if r.FieldSelector != nil {
		if a.FieldSelector, err = fieldSelector(r.FieldSelector); err != nil {
			return a, err
		}
	}
	if r.LabelSelector != nil {
		if a.LabelSelector, err = labelSelector(r.LabelSelector); err != nil {
			return a, err
		}
	}
	return a, nil
}

// fieldSelector keeps the requirements that a field selector can express: one value, equal or not.
func fieldSelector(f *authorizationv1.FieldSelectorAttributes) (fields.Selector, error) {
	if f.RawSelector != "" {
		return fields.ParseSelector(f.RawSelector)
	}
	var all []fields.Selector
	for _, r := range f.Requirements {
		if len(r.Values) != 1 {
			continue
		}
		switch r.Operator {
		case metav1.FieldSelectorOpIn:
			all = append(all, fields.OneTermEqualSelector(r.Key, r.Values[0]))
		case metav1.FieldSelectorOpNotIn:
			all = append(all, fields.OneTermNotEqualSelector(r.Key, r.Values[0]))
		}
	}
	return fields.AndSelectors(all...), nil
}

func labelSelector(l *authorizationv1.LabelSelectorAttributes) (labels.Selector, error) {
	if l.RawSelector != "" {
		return labels.Parse(l.RawSelector)
	}
	out := labels.NewSelector()
	ops := map[metav1.LabelSelectorOperator]selection.Operator{metav1.LabelSelectorOpIn: selection.In, metav1.LabelSelectorOpNotIn: selection.NotIn,
		metav1.LabelSelectorOpExists: selection.Exists, metav1.LabelSelectorOpDoesNotExist: selection.DoesNotExist}
	for _, r := range l.Requirements {
		op, ok := ops[r.Operator]
		if !ok {
			continue
		}
		req, err := labels.NewRequirement(r.Key, op, r.Values)
		if err != nil {
			return nil, err
		}
		out = out.Add(*req)
	}
	return out, nil
}

func validate(s authorizationv1.SubjectAccessReviewSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	r, n := s.ResourceAttributes, s.NonResourceAttributes
	switch {
	case r != nil && n != nil:
		errs = append(errs, field.Invalid(path.Child("nonResourceAttributes"), n, "cannot be specified in combination with resourceAttributes"))
	case r == nil && n == nil:
		errs = append(errs, field.Invalid(path.Child("resourceAttributes"), r, "exactly one of nonResourceAttributes or resourceAttributes must be specified"))
	}
	if s.User == "" && len(s.Groups) == 0 {
		errs = append(errs, field.Invalid(path.Child("user"), s.User, "at least one of user or group must be specified"))
	}
	if r == nil {
		return errs
	}
	ra := path.Child("resourceAttributes")
	if f := r.FieldSelector; f != nil && f.RawSelector != "" && len(f.Requirements) > 0 {
		errs = append(errs, field.Invalid(ra.Child("fieldSelector", "rawSelector"), f.RawSelector, "may not specified at the same time as requirements"))
	}
	if l := r.LabelSelector; l != nil && l.RawSelector != "" && len(l.Requirements) > 0 {
		errs = append(errs, field.Invalid(ra.Child("labelSelector", "rawSelector"), l.RawSelector, "may not specified at the same time as requirements"))
	}
	return errs
}

func invalid(kind string, errs field.ErrorList) error {
	return apierrors.NewInvalid(schema.GroupKind{Group: authorizationv1.GroupName, Kind: kind}, "", errs)
}
