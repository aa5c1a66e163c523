package authz

import (
	"slices"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
)

var star = []string{"*"}

var everything = Rules{
	Resource:    []authorizationv1.ResourceRule{{Verbs: star, APIGroups: star, Resources: star}},
	NonResource: []authorizationv1.NonResourceRule{{Verbs: star, NonResourceURLs: star}},
}

// allowed tells whether one of the rules permits the request (RBAC API docs, PolicyRule).
func allowed(rules []rbacv1.PolicyRule, a *Attributes) bool {
	for i := range rules {
		if ruleAllows(&rules[i], a) {
			return true
		}
	}
	return false
}

func ruleAllows(r *rbacv1.PolicyRule, a *Attributes) bool {
	if !hasOrStar(r.Verbs, a.Verb) {
		return false
	}
	if !a.ResourceRequest {
		return slices.ContainsFunc(r.NonResourceURLs, func(url string) bool { return urlMatches(url, a.Path) })
	}
	return hasOrStar(r.APIGroups, a.APIGroup) &&
		slices.ContainsFunc(r.Resources, func(res string) bool { return resourceMatches(res, a.Resource, a.Subresource) }) &&
		(len(r.ResourceNames) == 0 || slices.Contains(r.ResourceNames, a.Name))
}

func hasOrStar(list []string, s string) bool {
	for _, l := range list {
		if l == s || l == "*" {
			return true
		}
	}
	return false
}

// resourceMatches: a rule names "pods", "pods/log", "*/scale" or "*".
func resourceMatches(rule, resource, subresource string) bool {
	if rule == "*" {
		return true
	}
	if subresource == "" {
		return rule == resource
	}
	parent, sub, ok := strings.Cut(rule, "/")
	return ok && sub == subresource && (parent == resource || parent == "*")
}

// urlMatches: a rule names a path, or a prefix that ends in "*".
func urlMatches(rule, path string) bool {
	if prefix, ok := strings.CutSuffix(rule, "*"); ok {
		return strings.HasPrefix(path, prefix)
	}
	return rule == path
}

// toRules shows policy rules as access reviews do.
func toRules(policy []rbacv1.PolicyRule) Rules {
	var out Rules
	for _, p := range policy {
		if len(p.Resources) > 0 {
			out.Resource = append(out.Resource, authorizationv1.ResourceRule{Verbs: p.Verbs, APIGroups: p.APIGroups, Resources: p.Resources, ResourceNames: p.ResourceNames})
		}
		if len(p.NonResourceURLs) > 0 {
			out.NonResource = append(out.NonResource, authorizationv1.NonResourceRule{Verbs: p.Verbs, NonResourceURLs: p.NonResourceURLs})
		}
	}
	return out
}
