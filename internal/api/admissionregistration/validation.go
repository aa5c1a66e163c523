package admissionregistration

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nau/internal/api/meta"
)

// webhook is what the two kinds of webhooks have in common.
type webhook struct {
	name          string
	client        admissionregistrationv1.WebhookClientConfig
	rules         []admissionregistrationv1.RuleWithOperations
	failure       *admissionregistrationv1.FailurePolicyType
	match         *admissionregistrationv1.MatchPolicyType
	namespaces    *metav1.LabelSelector
	objects       *metav1.LabelSelector
	sideEffects   *admissionregistrationv1.SideEffectClass
	timeout       *int32
	versions      []string
	conditions    []admissionregistrationv1.MatchCondition
	reinvocations *admissionregistrationv1.ReinvocationPolicyType
}

func validateValidating(c *admissionregistrationv1.ValidatingWebhookConfiguration) field.ErrorList {
	var hooks []webhook
	for _, w := range c.Webhooks {
		hooks = append(hooks, webhook{w.Name, w.ClientConfig, w.Rules, w.FailurePolicy, w.MatchPolicy, w.NamespaceSelector, w.ObjectSelector,
			w.SideEffects, w.TimeoutSeconds, w.AdmissionReviewVersions, w.MatchConditions, nil})
	}
	return validateWebhooks(hooks)
}

func validateMutating(c *admissionregistrationv1.MutatingWebhookConfiguration) field.ErrorList {
	var hooks []webhook
	for _, w := range c.Webhooks {
		hooks = append(hooks, webhook{w.Name, w.ClientConfig, w.Rules, w.FailurePolicy, w.MatchPolicy, w.NamespaceSelector, w.ObjectSelector,
			w.SideEffects, w.TimeoutSeconds, w.AdmissionReviewVersions, w.MatchConditions, w.ReinvocationPolicy})
	}
	return validateWebhooks(hooks)
}

func validateWebhooks(hooks []webhook) field.ErrorList {
	var errs field.ErrorList
	names := sets.New[string]()
	for i, w := range hooks {
		p := field.NewPath("webhooks").Index(i)
		errs = append(errs, validation.IsFullyQualifiedName(p.Child("name"), w.name)...)
		if w.name != "" && names.Has(w.name) {
			errs = append(errs, field.Duplicate(p.Child("name"), w.name))
		}
		names.Insert(w.name)
		errs = append(errs, validateReviewVersions(p.Child("admissionReviewVersions"), w.versions)...)
		for j, r := range w.rules {
			errs = append(errs, validateRule(p.Child("rules").Index(j), r)...)
		}
		if w.failure != nil {
			errs = append(errs, meta.OneOf(p.Child("failurePolicy"), *w.failure, admissionregistrationv1.Ignore, admissionregistrationv1.Fail)...)
		}
		if w.match != nil {
			errs = append(errs, meta.OneOf(p.Child("matchPolicy"), *w.match, admissionregistrationv1.Exact, admissionregistrationv1.Equivalent)...)
		}
		if w.sideEffects == nil {
			errs = append(errs, field.Required(p.Child("sideEffects"), "must specify one of None, NoneOnDryRun"))
		} else {
			errs = append(errs, meta.OneOf(p.Child("sideEffects"), *w.sideEffects, admissionregistrationv1.SideEffectClassNone, admissionregistrationv1.SideEffectClassNoneOnDryRun)...)
		}
		if t := w.timeout; t != nil && (*t > 30 || *t < 1) {
			errs = append(errs, field.Invalid(p.Child("timeoutSeconds"), *t, "the timeout value must be between 1 and 30 seconds"))
		}
		if w.reinvocations != nil {
			errs = append(errs, meta.OneOf(p.Child("reinvocationPolicy"), *w.reinvocations, admissionregistrationv1.NeverReinvocationPolicy, admissionregistrationv1.IfNeededReinvocationPolicy)...)
		}
		errs = append(errs, meta.LabelSelector(p.Child("namespaceSelector"), w.namespaces)...)
		errs = append(errs, meta.LabelSelector(p.Child("objectSelector"), w.objects)...)
		errs = append(errs, validateClient(p.Child("clientConfig"), w.client)...)
		errs = append(errs, validateConditions(p.Child("matchConditions"), w.conditions)...)
		c := newCompiler(ConditionNames)
		c.conditions(p.Child("matchConditions"), w.conditions)
		errs = append(errs, c.errs...)
	}
	return errs
}

var reviewVersions = []string{"v1", "v1beta1"}

func validateReviewVersions(p *field.Path, versions []string) field.ErrorList {
	if len(versions) == 0 {
		return field.ErrorList{field.Required(p, fmt.Sprintf("must specify one of %v", strings.Join(reviewVersions, ", ")))}
	}
	var errs field.ErrorList
	seen := sets.New[string]()
	accepted := false
	for i, v := range versions {
		if seen.Has(v) {
			errs = append(errs, field.Invalid(p.Index(i), v, "duplicate version"))
		}
		seen.Insert(v)
		errs = append(errs, meta.Invalid(p.Index(i), v, validation.IsDNS1035Label(v))...)
		accepted = accepted || slices.Contains(reviewVersions, v)
	}
	if !accepted {
		errs = append(errs, field.Invalid(p, versions, fmt.Sprintf("must include at least one of %v", strings.Join(reviewVersions, ", "))))
	}
	return errs
}

func validateRule(p *field.Path, r admissionregistrationv1.RuleWithOperations) field.ErrorList {
	var errs field.ErrorList
	if len(r.Operations) == 0 {
		errs = append(errs, field.Required(p.Child("operations"), ""))
	}
	if len(r.Operations) > 1 && slices.Contains(r.Operations, admissionregistrationv1.OperationAll) {
		errs = append(errs, field.Invalid(p.Child("operations"), r.Operations, "if '*' is present, must not specify other operations"))
	}
	for i, o := range r.Operations {
		errs = append(errs, meta.OneOf(p.Child("operations").Index(i), o, admissionregistrationv1.OperationAll, admissionregistrationv1.Create,
			admissionregistrationv1.Update, admissionregistrationv1.Delete, admissionregistrationv1.Connect)...)
	}
	for _, part := range []struct {
		name   string
		values []string
		empty  bool
	}{{"apiGroups", r.APIGroups, true}, {"apiVersions", r.APIVersions, false}} {
		at := p.Child(part.name)
		if len(part.values) == 0 {
			errs = append(errs, field.Required(at, ""))
		}
		if len(part.values) > 1 && slices.Contains(part.values, "*") {
			errs = append(errs, field.Invalid(at, part.values, fmt.Sprintf("if '*' is present, must not specify other %s", map[string]string{"apiGroups": "API groups", "apiVersions": "API versions"}[part.name])))
		}
		for i, v := range part.values {
			if v == "" && !part.empty {
				errs = append(errs, field.Required(at.Index(i), ""))
			}
		}
	}
	errs = append(errs, validateResources(p.Child("resources"), r.Resources)...)
	if r.Scope != nil {
		errs = append(errs, meta.OneOf(p.Child("scope"), *r.Scope, admissionregistrationv1.AllScopes, admissionregistrationv1.ClusterScope, admissionregistrationv1.NamespacedScope)...)
	}
	return errs
}

// validateResources: names, with or without subresources, and wildcards that do not repeat each other.
func validateResources(p *field.Path, resources []string) field.ErrorList {
	if len(resources) == 0 {
		return field.ErrorList{field.Required(p, "")}
	}
	var errs field.ErrorList
	allSubresources, allResources := sets.New[string](), sets.New[string]()
	star := slices.Contains(resources, "*")
	everything := slices.Contains(resources, "*/*")
	for i, r := range resources {
		at := p.Index(i)
		if r == "" {
			errs = append(errs, field.Required(at, ""))
		}
		name, sub, hasSub := strings.Cut(r, "/")
		if r != "*/*" && r != "*" {
			if hasSub && allSubresources.Has(name) {
				errs = append(errs, field.Invalid(at, r, fmt.Sprintf("if '%s/*' is present, must not specify %s", name, r)))
			}
			if hasSub && allResources.Has(sub) {
				errs = append(errs, field.Invalid(at, r, fmt.Sprintf("if '*/%s' is present, must not specify %s", sub, r)))
			}
		}
		if sub == "*" {
			allSubresources.Insert(name)
		}
		if name == "*" && hasSub {
			allResources.Insert(sub)
		}
	}
	if len(resources) > 1 && everything {
		errs = append(errs, field.Invalid(p, resources, "if '*/*' is present, must not specify other resources"))
	}
	if star {
		for i, r := range resources {
			if r != "*" && !strings.Contains(r, "/") {
				errs = append(errs, field.Invalid(p.Index(i), r, "if '*' is present, must not specify other resources without subresources"))
			}
		}
	}
	return errs
}

func validateClient(p *field.Path, c admissionregistrationv1.WebhookClientConfig) field.ErrorList {
	if (c.URL == nil) == (c.Service == nil) {
		return field.ErrorList{field.Required(p, "exactly one of url or service is required")}
	}
	var errs field.ErrorList
	if c.URL != nil {
		at := p.Child("url")
		u, err := url.Parse(*c.URL)
		if err != nil {
			return field.ErrorList{field.Required(at, "url must be a valid URL: "+err.Error()+"; desired format: https://host[/path]")}
		}
		const form = "; desired format: https://host[/path]"
		if u.Scheme != "https" {
			errs = append(errs, field.Invalid(at, u.Scheme, "'https' is the only allowed URL scheme"+form))
		}
		if u.Host == "" {
			errs = append(errs, field.Invalid(at, u.Host, "host must be specified"+form))
		}
		if u.User != nil {
			errs = append(errs, field.Invalid(at, u.User.String(), "user information is not permitted in the URL"))
		}
		if u.Fragment != "" {
			errs = append(errs, field.Invalid(at, u.Fragment, "fragments are not permitted in the URL"))
		}
		if u.RawQuery != "" {
			errs = append(errs, field.Invalid(at, u.RawQuery, "query parameters are not permitted in the URL"))
		}
		return errs
	}
	s, at := c.Service, p.Child("service")
	if s.Name == "" {
		errs = append(errs, field.Required(at.Child("name"), "service name is required"))
	}
	if s.Namespace == "" {
		errs = append(errs, field.Required(at.Child("namespace"), "service namespace is required"))
	}
	if s.Port != nil {
		errs = append(errs, meta.Port(at.Child("port"), *s.Port)...)
	}
	if s.Path != nil && *s.Path != "" && !strings.HasPrefix(*s.Path, "/") {
		errs = append(errs, field.Invalid(at.Child("path"), *s.Path, "must start with a '/'"))
	}
	return errs
}

// validateConditions checks names and presence; a compiler checks the expressions.
func validateConditions(p *field.Path, conditions []admissionregistrationv1.MatchCondition) field.ErrorList {
	var errs field.ErrorList
	if len(conditions) > 64 {
		errs = append(errs, field.TooMany(p, len(conditions), 64))
	}
	names := sets.New[string]()
	for i, c := range conditions {
		at := p.Index(i)
		if c.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		} else {
			errs = append(errs, meta.QualifiedName(at.Child("name"), c.Name)...)
			if names.Has(c.Name) {
				errs = append(errs, field.Duplicate(at.Child("name"), c.Name))
			}
			names.Insert(c.Name)
		}
		if strings.TrimSpace(c.Expression) == "" {
			errs = append(errs, field.Required(at.Child("expression"), ""))
		}
	}
	return errs
}
