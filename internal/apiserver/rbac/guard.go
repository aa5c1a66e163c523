package rbac

import (
	"context"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/component-helpers/auth/rbac/validation"

	"nau/internal/apiserver/admission"
	"nau/internal/apiserver/authz"
	"nau/internal/apiserver/identity"
)

// Guard keeps everybody from giving away more than he has: who writes a role must hold every permission in it or the verb escalate
// on it; who writes a binding must hold every permission of its role or the verb bind on it (Kubernetes docs, "Privilege escalation
// prevention and bootstrapping"). It is the last validator of the chain.
type Guard struct {
	admission.Operations
	// Roles knows who holds what.
	Roles *authz.RBAC
	// Authorizer answers for the verbs escalate and bind.
	Authorizer authz.Authorizer
}

// NewGuard makes the plugin.
func NewGuard(roles *authz.RBAC, z authz.Authorizer) *Guard {
	return &Guard{admission.Operations{admission.Create, admission.Update}, roles, z}
}

// Name implements admission.Plugin.
func (*Guard) Name() string { return "RBACEscalation" }

var fullAuthority = []rbacv1.PolicyRule{on("*", "*", "*"), paths("*", "*")}

// Validate implements admission.Validator.
func (g *Guard) Validate(ctx context.Context, r *admission.Request) error {
	if r.Resource.Group != rbacv1.GroupName || r.User.In(identity.Masters) {
		return nil
	}
	switch o := r.Object.(type) {
	case *rbacv1.ClusterRole:
		old, _ := r.OldObject.(*rbacv1.ClusterRole)
		if old != nil && equality.Semantic.DeepEqual(old.Rules, o.Rules) && equality.Semantic.DeepEqual(old.AggregationRule, o.AggregationRule) {
			return nil
		}
		if g.may(ctx, r, "escalate", "clusterroles", "", r.Name) {
			return nil
		}
		// An aggregation can gather anything, so that only who may do anything can set one.
		if o.AggregationRule != nil || (old != nil && old.AggregationRule != nil) {
			if err := g.holds(r, "", fullAuthority, "must have cluster-admin privileges to use an aggregationRule"); err != nil {
				return err
			}
		}
		return g.holds(r, "", o.Rules, "")
	case *rbacv1.Role:
		old, _ := r.OldObject.(*rbacv1.Role)
		if (old != nil && equality.Semantic.DeepEqual(old.Rules, o.Rules)) || g.may(ctx, r, "escalate", "roles", r.Namespace, r.Name) {
			return nil
		}
		return g.holds(r, r.Namespace, o.Rules, "")
	case *rbacv1.ClusterRoleBinding:
		old, _ := r.OldObject.(*rbacv1.ClusterRoleBinding)
		if old != nil && old.RoleRef == o.RoleRef && equality.Semantic.DeepEqual(old.Subjects, o.Subjects) {
			return nil
		}
		return g.binds(ctx, r, "", o.RoleRef)
	case *rbacv1.RoleBinding:
		old, _ := r.OldObject.(*rbacv1.RoleBinding)
		if old != nil && old.RoleRef == o.RoleRef && equality.Semantic.DeepEqual(old.Subjects, o.Subjects) {
			return nil
		}
		return g.binds(ctx, r, r.Namespace, o.RoleRef)
	}
	return nil
}

func (g *Guard) binds(ctx context.Context, r *admission.Request, namespace string, ref rbacv1.RoleRef) error {
	resource := map[string]string{"ClusterRole": "clusterroles", "Role": "roles"}[ref.Kind]
	if resource == "" || g.may(ctx, r, "bind", resource, namespace, ref.Name) {
		return nil // another kind is refused by validation
	}
	rules, ok := g.Roles.Role(ref, namespace)
	if !ok {
		return apierrors.NewNotFound(rbacv1.Resource(strings.ToLower(ref.Kind)), ref.Name)
	}
	return g.holds(r, namespace, rules, "")
}

func (g *Guard) may(ctx context.Context, r *admission.Request, verb, resource, namespace, name string) bool {
	d, _, _ := g.Authorizer.Authorize(ctx, authz.Attributes{User: r.User, Verb: verb, APIGroup: rbacv1.GroupName, APIVersion: "*",
		Resource: resource, Namespace: namespace, Name: name, ResourceRequest: true})
	return d == authz.Allow
}

// holds refuses with the list of what is missing.
func (g *Guard) holds(r *admission.Request, namespace string, rules []rbacv1.PolicyRule, why string) error {
	covered, missing := validation.Covers(g.Roles.PolicyFor(r.User, namespace), rules)
	if covered {
		return nil
	}
	if why == "" {
		var lines []string
		for _, m := range missing {
			lines = append(lines, show(m))
		}
		slices.Sort(lines)
		why = fmt.Sprintf("user %q (groups=%q) is attempting to grant RBAC permissions not currently held:\n%s",
			r.User.Name, r.User.Groups, strings.Join(slices.Compact(lines), "\n"))
	}
	return apierrors.NewForbidden(rbacv1.Resource(r.Resource.Resource), r.Name, fmt.Errorf("%s", why))
}

func show(r rbacv1.PolicyRule) string {
	var parts []string
	add := func(name string, list []string) {
		if len(list) > 0 {
			parts = append(parts, fmt.Sprintf("%s:%s", name, strings.ReplaceAll(fmt.Sprintf("%q", list), " ", ", ")))
		}
	}
	add("APIGroups", r.APIGroups)
	add("Resources", r.Resources)
	add("ResourceNames", r.ResourceNames)
	add("NonResourceURLs", r.NonResourceURLs)
	add("Verbs", r.Verbs)
	return "{" + strings.Join(parts, ", ") + "}"
}
