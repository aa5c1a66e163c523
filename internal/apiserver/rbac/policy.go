// Package rbac keeps a cluster's roles in order: the default roles and bindings of Kubernetes 1.36, their reconciliation at start, the
// guard against giving away more than one has, and the gathering of aggregated ClusterRoles.
//
// It does not answer requests: package authz does. Apiserver and cluster import it.
package rbac

import (
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Labels and annotations of default roles (Kubernetes docs, "Default roles and role bindings").
const (
	autoUpdate    = "rbac.authorization.kubernetes.io/autoupdate"
	bootstrapping = "kubernetes.io/bootstrapping"
	aggregateTo   = "rbac.authorization.k8s.io/aggregate-to-"
)

// Sets of verbs, in the alphabetical order that stored roles have.
const (
	read      = "get list watch"
	follow    = "list watch"
	change    = "patch update"
	lock      = "create get list update watch"
	write     = "create delete deletecollection patch update"
	readWrite = "create delete deletecollection get list patch update watch"
)

type rules []rbacv1.PolicyRule

// clusterRole is one row of the tables of default roles.
type clusterRole struct {
	name string
	// addsTo names the aggregated role ("view", "edit", "admin") that gathers this one; gathers is the label that this one gathers.
	addsTo, gathers string
	rules           rules
}

// on is a rule about resources; lists are separated by blanks, the API group without a name is "core".
func on(groups, resources, verbs string, names ...string) rbacv1.PolicyRule {
	g := strings.Fields(groups)
	for i := range g {
		if g[i] == "core" {
			g[i] = ""
		}
	}
	return rbacv1.PolicyRule{APIGroups: g, Resources: strings.Fields(resources), Verbs: strings.Fields(verbs), ResourceNames: names}
}

// paths is a rule about URLs that are not resources.
func paths(urls, verbs string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{NonResourceURLs: strings.Fields(urls), Verbs: strings.Fields(verbs)}
}

var recordEvents = on("core events.k8s.io", "events", "create patch update")

// Policy is a set of roles and bindings.
type Policy struct {
	ClusterRoles        []*rbacv1.ClusterRole
	ClusterRoleBindings []*rbacv1.ClusterRoleBinding
	Roles               []*rbacv1.Role
	RoleBindings        []*rbacv1.RoleBinding
}

// Default is the policy that every cluster starts with. The caller owns it. Aggregated roles come filled, so that they serve before
// the controller has looked at them.
func Default() *Policy {
	p := &Policy{}
	for _, table := range [][]clusterRole{userRoles, componentRoles} {
		for _, r := range table {
			p.ClusterRoles = append(p.ClusterRoles, r.object(r.name))
		}
	}
	for _, r := range controllerRoles {
		name := "system:controller:" + r.name
		p.ClusterRoles = append(p.ClusterRoles, r.object(name))
		p.ClusterRoleBindings = append(p.ClusterRoleBindings, clusterBinding(name, name, account(r.name)))
	}
	for role := range strings.FieldsSeq("view edit admin") { // the smaller first: the larger gather it
		for _, r := range p.ClusterRoles {
			if r.Name == role {
				r.Rules, _ = gather(r, p.ClusterRoles)
			}
		}
	}
	for _, b := range clusterBindings {
		p.ClusterRoleBindings = append(p.ClusterRoleBindings, clusterBinding(b.name, b.role, b.subjects...))
	}
	for _, r := range namespacedRoles {
		p.Roles = append(p.Roles, &rbacv1.Role{ObjectMeta: meta(r.namespace, r.name), Rules: r.rules})
		if len(r.subjects) == 0 {
			continue
		}
		p.RoleBindings = append(p.RoleBindings, &rbacv1.RoleBinding{ObjectMeta: meta(r.namespace, r.binding()), Subjects: r.subjects,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: r.name}})
	}
	return p
}

func (r clusterRole) object(name string) *rbacv1.ClusterRole {
	out := &rbacv1.ClusterRole{ObjectMeta: meta("", name), Rules: append(rules(nil), r.rules...)}
	if r.addsTo != "" {
		out.Labels[aggregateTo+r.addsTo] = "true"
	}
	if r.gathers != "" {
		out.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{aggregateTo + r.gathers: "true"}}}}
	}
	return out
}

func clusterBinding(name, role string, subjects ...rbacv1.Subject) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{ObjectMeta: meta("", name), Subjects: subjects,
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}}
}

func meta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{bootstrapping: "rbac-defaults"}, Annotations: map[string]string{autoUpdate: "true"}}
}

func group(name string) rbacv1.Subject {
	return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: name}
}

func user(name string) rbacv1.Subject {
	return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}
}

func account(name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: metav1.NamespaceSystem, Name: name}
}
