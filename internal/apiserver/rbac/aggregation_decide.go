package rbac

import (
	"errors"
	"fmt"
	"slices"
	"sort"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// gather is the rules that an aggregated role shall have: those of all roles that its selectors match, by selector and then by name,
// each rule once (API docs, AggregationRule). A selector that does not parse matches nothing and is reported.
func gather(role *rbacv1.ClusterRole, all []*rbacv1.ClusterRole) ([]rbacv1.PolicyRule, error) {
	all = slices.Clone(all)
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	var out []rbacv1.PolicyRule
	var errs []error
	for i := range role.AggregationRule.ClusterRoleSelectors {
		sel, err := metav1.LabelSelectorAsSelector(&role.AggregationRule.ClusterRoleSelectors[i])
		if err != nil {
			errs = append(errs, fmt.Errorf("read selector %d of ClusterRole %s: %w", i, role.Name, err))
			continue
		}
		for _, other := range all {
			if other.Name == role.Name || !sel.Matches(labels.Set(other.Labels)) {
				continue
			}
			for _, rule := range other.Rules {
				if !containsRule(out, rule) {
					out = append(out, rule)
				}
			}
		}
	}
	return out, errors.Join(errs...)
}

func containsRule(list []rbacv1.PolicyRule, rule rbacv1.PolicyRule) bool {
	return slices.ContainsFunc(list, func(r rbacv1.PolicyRule) bool { return equality.Semantic.DeepEqual(r, rule) })
}

// matches tells whether an aggregated role may gather a role with these labels.
func matches(aggregated *rbacv1.ClusterRole, l map[string]string) bool {
	return slices.ContainsFunc(aggregated.AggregationRule.ClusterRoleSelectors, func(s metav1.LabelSelector) bool {
		sel, err := metav1.LabelSelectorAsSelector(&s)
		return err == nil && sel.Matches(labels.Set(l))
	})
}
