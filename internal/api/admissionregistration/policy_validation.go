package admissionregistration

import (
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nau/internal/api/meta"
)

func validatePolicy(o *admissionregistrationv1.ValidatingAdmissionPolicy) field.ErrorList {
	p, s := field.NewPath("spec"), &o.Spec
	errs := validatePolicyParts(p, s.FailurePolicy, s.ParamKind, s.MatchConstraints, s.MatchConditions)
	errs = append(errs, validateVariables(p.Child("variables"), s.Variables)...)
	if len(s.Validations) == 0 && len(s.AuditAnnotations) == 0 {
		errs = append(errs, field.Required(p.Child("validations"), "validations or auditAnnotations must be specified"))
		errs = append(errs, field.Required(p.Child("auditAnnotations"), "validations or auditAnnotations must be specified"))
	}
	reasons := []metav1.StatusReason{metav1.StatusReasonForbidden, metav1.StatusReasonInvalid, metav1.StatusReasonRequestEntityTooLarge, metav1.StatusReasonUnauthorized}
	for i, v := range s.Validations {
		at := p.Child("validations").Index(i)
		if strings.TrimSpace(v.Expression) == "" {
			errs = append(errs, field.Required(at.Child("expression"), "expression is not specified"))
		}
		if v.MessageExpression != "" && strings.TrimSpace(v.MessageExpression) == "" {
			errs = append(errs, field.Invalid(at.Child("messageExpression"), v.MessageExpression, "must be non-empty if specified"))
		}
		if v.Message != "" && strings.TrimSpace(v.Message) == "" {
			errs = append(errs, field.Invalid(at.Child("message"), v.Message, "message must be non-empty if specified"))
		} else if strings.Contains(strings.TrimSpace(v.Message), "\n") {
			errs = append(errs, field.Invalid(at.Child("message"), v.Message, "message must not contain line breaks"))
		}
		if v.Reason != nil {
			errs = append(errs, meta.OneOfOrEmpty(at.Child("reason"), *v.Reason, reasons...)...)
		}
	}
	keys := sets.New[string]()
	for i, a := range s.AuditAnnotations {
		at := p.Child("auditAnnotations").Index(i)
		if a.Key == "" {
			errs = append(errs, field.Required(at.Child("key"), ""))
		} else {
			errs = append(errs, meta.QualifiedName(at.Child("key"), o.Name+"/"+a.Key)...)
			if keys.Has(a.Key) {
				errs = append(errs, field.Duplicate(at.Child("key"), a.Key))
			}
			keys.Insert(a.Key)
		}
		if strings.TrimSpace(a.ValueExpression) == "" {
			errs = append(errs, field.Required(at.Child("valueExpression"), "valueExpression is not specified"))
		}
	}
	return append(errs, checkPolicyExpressions(p, s)...)
}

func validatePolicyParts(p *field.Path, failure *admissionregistrationv1.FailurePolicyType, param *admissionregistrationv1.ParamKind, match *admissionregistrationv1.MatchResources, conditions []admissionregistrationv1.MatchCondition) field.ErrorList {
	var errs field.ErrorList
	if failure == nil {
		errs = append(errs, field.Required(p.Child("failurePolicy"), ""))
	} else {
		errs = append(errs, meta.OneOf(p.Child("failurePolicy"), *failure, admissionregistrationv1.Ignore, admissionregistrationv1.Fail)...)
	}
	if param != nil {
		at := p.Child("paramKind")
		if param.APIVersion == "" {
			errs = append(errs, field.Required(at.Child("apiVersion"), ""))
		} else if gv, err := schema.ParseGroupVersion(param.APIVersion); err != nil {
			errs = append(errs, field.Invalid(at.Child("apiVersion"), param.APIVersion, err.Error()))
		} else if gv.Version == "" {
			errs = append(errs, field.Invalid(at.Child("apiVersion"), param.APIVersion, "version must be specified"))
		}
		if param.Kind == "" {
			errs = append(errs, field.Required(at.Child("kind"), ""))
		}
	}
	if match == nil {
		errs = append(errs, field.Required(p.Child("matchConstraints"), ""))
	} else {
		errs = append(errs, validateMatch(p.Child("matchConstraints"), match)...)
		if len(match.ResourceRules) == 0 {
			errs = append(errs, field.Required(p.Child("matchConstraints", "resourceRules"), ""))
		}
	}
	return append(errs, validateConditions(p.Child("matchConditions"), conditions)...)
}

func validateVariables(p *field.Path, variables []admissionregistrationv1.Variable) field.ErrorList {
	var errs field.ErrorList
	names := sets.New[string]()
	for i, v := range variables {
		at := p.Index(i)
		switch {
		case v.Name == "":
			errs = append(errs, field.Required(at.Child("name"), "name is not specified"))
		case len(validation.IsEnvVarName(v.Name)) > 0 || strings.ContainsAny(v.Name, ".-"):
			errs = append(errs, field.Invalid(at.Child("name"), v.Name, "name is not a valid CEL identifier"))
		case names.Has(v.Name):
			errs = append(errs, field.Duplicate(at.Child("name"), v.Name))
		}
		names.Insert(v.Name)
		if strings.TrimSpace(v.Expression) == "" {
			errs = append(errs, field.Required(at.Child("expression"), "expression is not specified"))
		}
	}
	return errs
}

func validateMatch(p *field.Path, m *admissionregistrationv1.MatchResources) field.ErrorList {
	var errs field.ErrorList
	if m.MatchPolicy == nil {
		errs = append(errs, field.Required(p.Child("matchPolicy"), ""))
	} else {
		errs = append(errs, meta.OneOf(p.Child("matchPolicy"), *m.MatchPolicy, admissionregistrationv1.Exact, admissionregistrationv1.Equivalent)...)
	}
	if m.NamespaceSelector == nil {
		errs = append(errs, field.Required(p.Child("namespaceSelector"), ""))
	}
	if m.ObjectSelector == nil {
		errs = append(errs, field.Required(p.Child("labelSelector"), ""))
	}
	errs = append(errs, meta.LabelSelector(p.Child("namespaceSelector"), m.NamespaceSelector)...)
	errs = append(errs, meta.LabelSelector(p.Child("labelSelector"), m.ObjectSelector)...)
	for _, part := range []struct {
		name  string
		rules []admissionregistrationv1.NamedRuleWithOperations
	}{{"resourceRules", m.ResourceRules}, {"excludeResourceRules", m.ExcludeResourceRules}} {
		for i, r := range part.rules {
			at := p.Child(part.name).Index(i)
			errs = append(errs, validateRule(at, r.RuleWithOperations)...)
			names := sets.New[string]()
			for j, n := range r.ResourceNames {
				if names.Has(n) {
					errs = append(errs, field.Duplicate(at.Child("resourceNames").Index(j), n))
				}
				names.Insert(n)
			}
		}
	}
	return errs
}

func validateParamRef(p *field.Path, r *admissionregistrationv1.ParamRef) field.ErrorList {
	if r == nil {
		return nil
	}
	var errs field.ErrorList
	switch {
	case r.Name == "" && r.Selector == nil:
		errs = append(errs, field.Required(p, "one of name or selector must be specified"))
	case r.Name != "" && r.Selector != nil:
		errs = append(errs, field.Forbidden(p.Child("name"), "name and selector are mutually exclusive"))
	}
	errs = append(errs, meta.LabelSelector(p.Child("selector"), r.Selector)...)
	if r.ParameterNotFoundAction == nil {
		return append(errs, field.Required(p.Child("parameterNotFoundAction"), ""))
	}
	return append(errs, meta.OneOf(p.Child("parameterNotFoundAction"), *r.ParameterNotFoundAction, admissionregistrationv1.AllowAction, admissionregistrationv1.DenyAction)...)
}

func validatePolicyBinding(b *admissionregistrationv1.ValidatingAdmissionPolicyBinding) field.ErrorList {
	p, s := field.NewPath("spec"), &b.Spec
	errs := meta.RequiredName(p.Child("policyName"), s.PolicyName)
	errs = append(errs, validateParamRef(p.Child("paramRef"), s.ParamRef)...)
	if s.MatchResources != nil {
		errs = append(errs, validateMatch(p.Child("matchResouces"), s.MatchResources)...)
	}
	at := p.Child("validationActions")
	if len(s.ValidationActions) == 0 {
		errs = append(errs, field.Required(at, "at least one validation action is required"))
	}
	seen := sets.New[admissionregistrationv1.ValidationAction]()
	for i, a := range s.ValidationActions {
		errs = append(errs, meta.OneOf(at.Index(i), a, admissionregistrationv1.Audit, admissionregistrationv1.Deny, admissionregistrationv1.Warn)...)
		if seen.Has(a) {
			errs = append(errs, field.Duplicate(at.Index(i), a))
		}
		seen.Insert(a)
	}
	if seen.HasAll(admissionregistrationv1.Deny, admissionregistrationv1.Warn) {
		errs = append(errs, field.Invalid(at, s.ValidationActions, "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)"))
	}
	return errs
}

func validateMutatingPolicy(o *admissionregistrationv1.MutatingAdmissionPolicy) field.ErrorList {
	p, s := field.NewPath("spec"), &o.Spec
	errs := validatePolicyParts(p, s.FailurePolicy, s.ParamKind, s.MatchConstraints, s.MatchConditions)
	errs = append(errs, validateVariables(p.Child("variables"), s.Variables)...)
	if len(s.Mutations) == 0 {
		errs = append(errs, field.Required(p.Child("mutations"), "mutations must contain at least one item"))
	}
	for i, m := range s.Mutations {
		at := p.Child("mutations").Index(i)
		errs = append(errs, meta.OneOf(at.Child("patchType"), m.PatchType, admissionregistrationv1.PatchTypeApplyConfiguration, admissionregistrationv1.PatchTypeJSONPatch)...)
		switch m.PatchType {
		case admissionregistrationv1.PatchTypeApplyConfiguration:
			if m.ApplyConfiguration == nil || strings.TrimSpace(m.ApplyConfiguration.Expression) == "" {
				errs = append(errs, field.Required(at.Child("applyConfiguration", "expression"), "expression is not specified"))
			}
		case admissionregistrationv1.PatchTypeJSONPatch:
			if m.JSONPatch == nil || strings.TrimSpace(m.JSONPatch.Expression) == "" {
				errs = append(errs, field.Required(at.Child("jsonPatch", "expression"), "expression is not specified"))
			}
		}
	}
	errs = append(errs, checkMutationExpressions(p, s)...)
	return append(errs, meta.OneOf(p.Child("reinvocationPolicy"), s.ReinvocationPolicy, admissionregistrationv1.NeverReinvocationPolicy, admissionregistrationv1.IfNeededReinvocationPolicy)...)
}

func validateMutatingPolicyBinding(b *admissionregistrationv1.MutatingAdmissionPolicyBinding) field.ErrorList {
	p, s := field.NewPath("spec"), &b.Spec
	errs := meta.RequiredName(p.Child("policyName"), s.PolicyName)
	errs = append(errs, validateParamRef(p.Child("paramRef"), s.ParamRef)...)
	if s.MatchResources != nil {
		errs = append(errs, validateMatch(p.Child("matchResouces"), s.MatchResources)...)
	}
	return errs
}
