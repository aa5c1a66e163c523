package admissionregistration

import (
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func or[T any](p **T, value T) {
	if *p == nil {
		*p = &value
	}
}

func defaultRules(rules []admissionregistrationv1.RuleWithOperations) {
	for i := range rules {
		or(&rules[i].Scope, admissionregistrationv1.AllScopes)
	}
}

func defaultClient(c *admissionregistrationv1.WebhookClientConfig) {
	if c.Service != nil {
		or(&c.Service.Port, 443)
	}
}

// DefaultValidating fills webhooks' unset fields: a webhook that cannot be asked refuses, after ten seconds.
func DefaultValidating(c *admissionregistrationv1.ValidatingWebhookConfiguration) {
	for i := range c.Webhooks {
		w := &c.Webhooks[i]
		or(&w.FailurePolicy, admissionregistrationv1.Fail)
		or(&w.MatchPolicy, admissionregistrationv1.Equivalent)
		or(&w.NamespaceSelector, metav1.LabelSelector{})
		or(&w.ObjectSelector, metav1.LabelSelector{})
		or(&w.TimeoutSeconds, 10)
		defaultClient(&w.ClientConfig)
		defaultRules(w.Rules)
	}
}

// DefaultMutating is DefaultValidating for mutating webhooks, which are called once unless they ask for more.
func DefaultMutating(c *admissionregistrationv1.MutatingWebhookConfiguration) {
	for i := range c.Webhooks {
		w := &c.Webhooks[i]
		or(&w.FailurePolicy, admissionregistrationv1.Fail)
		or(&w.MatchPolicy, admissionregistrationv1.Equivalent)
		or(&w.NamespaceSelector, metav1.LabelSelector{})
		or(&w.ObjectSelector, metav1.LabelSelector{})
		or(&w.TimeoutSeconds, 10)
		or(&w.ReinvocationPolicy, admissionregistrationv1.NeverReinvocationPolicy)
		defaultClient(&w.ClientConfig)
		defaultRules(w.Rules)
	}
}

func defaultMatch(m *admissionregistrationv1.MatchResources) {
	if m == nil {
		return
	}
	or(&m.MatchPolicy, admissionregistrationv1.Equivalent)
	or(&m.NamespaceSelector, metav1.LabelSelector{})
	or(&m.ObjectSelector, metav1.LabelSelector{})
	for _, rules := range [][]admissionregistrationv1.NamedRuleWithOperations{m.ResourceRules, m.ExcludeResourceRules} {
		for i := range rules {
			or(&rules[i].Scope, admissionregistrationv1.AllScopes)
		}
	}
}

// DefaultPolicy fills a validating policy's unset fields.
func DefaultPolicy(p *admissionregistrationv1.ValidatingAdmissionPolicy) {
	or(&p.Spec.FailurePolicy, admissionregistrationv1.Fail)
	defaultMatch(p.Spec.MatchConstraints)
}

// DefaultPolicyBinding fills a validating binding's unset fields.
func DefaultPolicyBinding(b *admissionregistrationv1.ValidatingAdmissionPolicyBinding) {
	defaultMatch(b.Spec.MatchResources)
}

// DefaultMutatingPolicy fills a mutating policy's unset fields.
func DefaultMutatingPolicy(p *admissionregistrationv1.MutatingAdmissionPolicy) {
	or(&p.Spec.FailurePolicy, admissionregistrationv1.Fail)
	defaultMatch(p.Spec.MatchConstraints)
}

// DefaultMutatingPolicyBinding fills a mutating binding's unset fields.
func DefaultMutatingPolicyBinding(b *admissionregistrationv1.MutatingAdmissionPolicyBinding) {
	defaultMatch(b.Spec.MatchResources)
}
