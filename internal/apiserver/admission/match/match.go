// Package match tells which requests a webhook or an admission policy is about: rules, selectors and match conditions.
//
// It reads namespaces through a lister and decides; it calls nobody and changes nothing. Packages webhook and policy import it.
package match

import (
	"context"
	"fmt"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"

	"nau/internal/apiserver/admission"
)

// Criteria are one webhook's, policy's or binding's, ready to be compared.
type Criteria struct {
	Rules, Exclude []admissionv1.NamedRuleWithOperations
	// Equivalent also matches a request for the same resource in another version or group.
	Equivalent bool
	namespaces labels.Selector
	objects    labels.Selector
}

// New reads the selectors.
func New(rules, exclude []admissionv1.NamedRuleWithOperations, policy *admissionv1.MatchPolicyType, namespaces, objects *metav1.LabelSelector) (*Criteria, error) {
	c := &Criteria{Rules: rules, Exclude: exclude, Equivalent: policy == nil || *policy == admissionv1.Equivalent}
	var err error
	if c.namespaces, err = selector(namespaces); err != nil {
		return nil, fmt.Errorf("read namespaceSelector: %w", err)
	}
	if c.objects, err = selector(objects); err != nil {
		return nil, fmt.Errorf("read objectSelector: %w", err)
	}
	return c, nil
}

// Plain makes rules without resource names of a webhook's.
func Plain(rules []admissionv1.RuleWithOperations) []admissionv1.NamedRuleWithOperations {
	out := make([]admissionv1.NamedRuleWithOperations, len(rules))
	for i, r := range rules {
		out[i].RuleWithOperations = r
	}
	return out
}

func selector(s *metav1.LabelSelector) (labels.Selector, error) {
	if s == nil {
		return labels.Everything(), nil
	}
	return metav1.LabelSelectorAsSelector(s)
}

// exempt are the objects that switch webhooks and policies on and off: no webhook or policy may keep an administrator from
// removing one (API docs, "Avoiding deadlocks").
func exempt(r *admission.Request) bool {
	if r.Resource.Group != admissionv1.GroupName {
		return false
	}
	switch r.Resource.Resource {
	case "validatingwebhookconfigurations", "mutatingwebhookconfigurations", "validatingadmissionpolicies", "validatingadmissionpolicybindings",
		"mutatingadmissionpolicies", "mutatingadmissionpolicybindings":
		return true
	}
	return false
}

// Matcher compares requests with criteria.
type Matcher struct {
	namespaces corelisters.NamespaceLister
	live       kubernetes.Interface
}

// NewMatcher makes a matcher.
func NewMatcher(f informers.SharedInformerFactory, live kubernetes.Interface) *Matcher {
	return &Matcher{f.Core().V1().Namespaces().Lister(), live}
}

// Match tells whether a request meets the criteria, and in which version the one who set them wants to see it.
func (m *Matcher) Match(ctx context.Context, c *Criteria, r *admission.Request) (admission.Served, bool, error) {
	none := admission.Served{}
	if exempt(r) {
		return none, false, nil
	}
	if _, out := c.find(c.Exclude, r); out {
		return none, false, nil
	}
	as, ok := c.find(c.Rules, r)
	if !ok {
		return none, false, nil
	}
	if !c.objects.Empty() && !labelled(r.Object, c.objects) && !labelled(r.OldObject, c.objects) {
		return none, false, nil
	}
	if c.namespaces.Empty() {
		return as, true, nil
	}
	ns, err := m.NamespaceOf(ctx, r)
	if err != nil {
		return none, false, err
	}
	return as, ns == nil || c.namespaces.Matches(labels.Set(ns.Labels)), nil
}

func labelled(obj runtime.Object, s labels.Selector) bool {
	if obj == nil {
		return false
	}
	m, err := meta.Accessor(obj)
	return err == nil && s.Matches(labels.Set(m.GetLabels()))
}

// NamespaceOf is the namespace that a request's object lives in or is; nil for other cluster-scoped objects.
func (m *Matcher) NamespaceOf(ctx context.Context, r *admission.Request) (*corev1.Namespace, error) {
	name := r.Namespace
	if r.Is("", "namespaces", "") {
		if ns, ok := r.Object.(*corev1.Namespace); ok {
			return ns, nil
		}
		if name == "" {
			name = r.Name
		}
	}
	if name == "" {
		return nil, nil
	}
	ns, err := m.namespaces.Get(name)
	if apierrors.IsNotFound(err) {
		ns, err = m.live.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	}
	if apierrors.IsNotFound(err) {
		return nil, err
	}
	if err != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("get namespace %s: %w", name, err))
	}
	return ns, nil
}

// find looks for a rule that fits the request as it is, then for one that fits it in another version.
func (c *Criteria) find(rules []admissionv1.NamedRuleWithOperations, r *admission.Request) (admission.Served, bool) {
	own := admission.Served{Resource: r.Resource, Kind: r.Kind}
	for i := range rules {
		if fits(&rules[i], r, own) {
			return own, true
		}
	}
	if !c.Equivalent || r.Shapes == nil {
		return own, false
	}
	for _, s := range r.Shapes.Served() {
		for i := range rules {
			if s != own && fits(&rules[i], r, s) {
				return s, true
			}
		}
	}
	return own, false
}

func fits(rule *admissionv1.NamedRuleWithOperations, r *admission.Request, as admission.Served) bool {
	return has(rule.APIGroups, as.Resource.Group) && has(rule.APIVersions, as.Resource.Version) && scope(rule.Scope, r) &&
		operation(rule.Operations, r.Operation) && resource(rule.Resources, r) &&
		(len(rule.ResourceNames) == 0 || slices.Contains(rule.ResourceNames, r.Name))
}

func has(list []string, what string) bool {
	return slices.Contains(list, "*") || slices.Contains(list, what)
}

func scope(s *admissionv1.ScopeType, r *admission.Request) bool {
	if s == nil || *s == admissionv1.AllScopes {
		return true
	}
	// A namespace is itself a cluster-scoped object, though its requests carry its name as namespace.
	namespaced := r.Namespace != "" && !(r.Resource.Group == "" && r.Resource.Resource == "namespaces")
	return namespaced == (*s == admissionv1.NamespacedScope)
}

func operation(list []admissionv1.OperationType, op admission.Operation) bool {
	return slices.Contains(list, admissionv1.OperationAll) || slices.Contains(list, admissionv1.OperationType(op))
}

func resource(list []string, r *admission.Request) bool {
	for _, want := range list {
		name, sub, _ := strings.Cut(want, "/")
		if (name == "*" || name == r.Resource.Resource) && (sub == r.Subresource || sub == "*") {
			return true
		}
	}
	return false
}
