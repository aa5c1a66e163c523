package rbac

import (
	"maps"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/auth/rbac/validation"
)

// Reconciliation never takes away: rules, subjects and selectors that somebody added stay (Kubernetes docs, "Auto-reconciliation").
// Who does not want that either sets the annotation autoupdate to false.

// protected tells whether somebody has asked us to keep our hands off.
func protected(m *metav1.ObjectMeta) bool { return m.Annotations[autoUpdate] == "false" }

// mergeMeta adds labels and annotations that are missing, without changing values.
func mergeMeta(have, want *metav1.ObjectMeta) (changed bool) {
	return mergeMap(&have.Labels, want.Labels) || mergeMap(&have.Annotations, want.Annotations)
}

func mergeMap(have *map[string]string, want map[string]string) (changed bool) {
	for k, v := range want {
		if _, ok := (*have)[k]; ok {
			continue
		}
		if !changed {
			*have = maps.Clone(*have)
			if *have == nil {
				*have = map[string]string{}
			}
		}
		(*have)[k] = v
		changed = true
	}
	return changed
}

// mergeRules adds what the wanted rules permit and the present ones do not.
func mergeRules(have, want []rbacv1.PolicyRule) ([]rbacv1.PolicyRule, bool) {
	covered, missing := validation.Covers(have, want)
	if covered {
		return have, false
	}
	return append(slices.Clip(have), missing...), true
}

func mergeSubjects(have, want []rbacv1.Subject) (out []rbacv1.Subject, changed bool) {
	out = slices.Clip(have)
	for _, s := range want {
		if !slices.Contains(out, s) {
			out, changed = append(out, s), true
		}
	}
	return out, changed
}

// plannedClusterRole is what to write in have's place, nil for nothing. Have is not changed.
func plannedClusterRole(have, want *rbacv1.ClusterRole) *rbacv1.ClusterRole {
	if protected(&have.ObjectMeta) {
		return nil
	}
	out := *have // the maps and slices inside are replaced, never changed
	changed := mergeMeta(&out.ObjectMeta, &want.ObjectMeta)
	if want.AggregationRule != nil {
		var selectors []metav1.LabelSelector
		if have.AggregationRule != nil {
			selectors = slices.Clip(have.AggregationRule.ClusterRoleSelectors)
		}
		for _, s := range want.AggregationRule.ClusterRoleSelectors {
			if !slices.ContainsFunc(selectors, func(h metav1.LabelSelector) bool { return equality.Semantic.DeepEqual(h, s) }) {
				selectors, changed = append(selectors, s), true
			}
		}
		out.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: selectors}
	} else if have.AggregationRule == nil {
		rules, more := mergeRules(have.Rules, want.Rules)
		out.Rules, changed = rules, changed || more
	}
	if !changed {
		return nil
	}
	return &out
}

func plannedRole(have, want *rbacv1.Role) *rbacv1.Role {
	if protected(&have.ObjectMeta) {
		return nil
	}
	out := *have
	changed := mergeMeta(&out.ObjectMeta, &want.ObjectMeta)
	rules, more := mergeRules(have.Rules, want.Rules)
	if out.Rules = rules; !changed && !more {
		return nil
	}
	return &out
}

// plannedClusterBinding: a binding to another role cannot be changed, it has to be replaced.
func plannedClusterBinding(have, want *rbacv1.ClusterRoleBinding) (update *rbacv1.ClusterRoleBinding, replace bool) {
	if protected(&have.ObjectMeta) {
		return nil, false
	}
	if have.RoleRef != want.RoleRef {
		return want, true
	}
	out := *have
	changed := mergeMeta(&out.ObjectMeta, &want.ObjectMeta)
	subjects, more := mergeSubjects(have.Subjects, want.Subjects)
	if out.Subjects = subjects; !changed && !more {
		return nil, false
	}
	return &out, false
}

func plannedBinding(have, want *rbacv1.RoleBinding) (update *rbacv1.RoleBinding, replace bool) {
	if protected(&have.ObjectMeta) {
		return nil, false
	}
	if have.RoleRef != want.RoleRef {
		return want, true
	}
	out := *have
	changed := mergeMeta(&out.ObjectMeta, &want.ObjectMeta)
	subjects, more := mergeSubjects(have.Subjects, want.Subjects)
	if out.Subjects = subjects; !changed && !more {
		return nil, false
	}
	return &out, false
}
