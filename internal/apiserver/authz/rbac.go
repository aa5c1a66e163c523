package authz

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"nau/internal/apiserver/identity"
)

// RBAC answers from roles and bindings (Kubernetes docs, "Using RBAC Authorization").
//
// It keeps an index by subject, so that a request costs a look-up for its user and each of its groups, in the cluster's bindings
// and in the namespace's, whatever the number of bindings; a change of a role or binding touches only its own entries.
type RBAC struct {
	mu    sync.RWMutex
	roles map[roleKey][]rbacv1.PolicyRule
	// bySubject is what authorization reads; byName is what it was made from.
	bySubject map[subjectKey][]*grant
	byName    map[bindingKey][]subjectKey
}

// roleKey names a Role, or a ClusterRole with namespace "".
type roleKey struct{ namespace, name string }

// bindingKey names a RoleBinding, or a ClusterRoleBinding with namespace "".
type bindingKey struct{ namespace, name string }

// subjectKey is a user or group as the bindings of one namespace ("" for the cluster's) see it.
type subjectKey struct {
	namespace string
	group     bool
	name      string
}

// grant is one binding's effect on one subject.
type grant struct {
	binding bindingKey
	role    roleKey
	reason  string
}

// NewRBAC makes an empty evaluator: it allows nothing.
func NewRBAC() *RBAC {
	return &RBAC{roles: map[roleKey][]rbacv1.PolicyRule{}, bySubject: map[subjectKey][]*grant{}, byName: map[bindingKey][]subjectKey{}}
}

// Follow keeps the evaluator at what the factory's informers see. The answer tells whether the first lists have arrived.
func (r *RBAC) Follow(f informers.SharedInformerFactory) (synced cache.InformerSynced, err error) {
	rbac := f.Rbac().V1()
	return follow("roles and bindings", r, rbac.ClusterRoles().Informer(), rbac.Roles().Informer(), rbac.ClusterRoleBindings().Informer(), rbac.RoleBindings().Informer())
}

// Set takes in a new or changed *ClusterRole, *Role, *ClusterRoleBinding or *RoleBinding. It keeps the object's rules, which must not change.
func (r *RBAC) Set(obj any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch o := obj.(type) {
	case *rbacv1.ClusterRole:
		r.roles[roleKey{"", o.Name}] = o.Rules
	case *rbacv1.Role:
		r.roles[roleKey{o.Namespace, o.Name}] = o.Rules
	case *rbacv1.ClusterRoleBinding:
		r.bind(bindingKey{"", o.Name}, o.RoleRef, o.Subjects)
	case *rbacv1.RoleBinding:
		r.bind(bindingKey{o.Namespace, o.Name}, o.RoleRef, o.Subjects)
	}
}

// Remove takes out what Set took in.
func (r *RBAC) Remove(obj any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch o := obj.(type) {
	case *rbacv1.ClusterRole:
		delete(r.roles, roleKey{"", o.Name})
	case *rbacv1.Role:
		delete(r.roles, roleKey{o.Namespace, o.Name})
	case *rbacv1.ClusterRoleBinding:
		r.unbind(bindingKey{"", o.Name})
	case *rbacv1.RoleBinding:
		r.unbind(bindingKey{o.Namespace, o.Name})
	}
}

func (r *RBAC) bind(key bindingKey, ref rbacv1.RoleRef, subjects []rbacv1.Subject) {
	r.unbind(key)
	role, ok := roleOf(key, ref)
	if !ok {
		return
	}
	var keys []subjectKey
	for _, s := range subjects {
		k, ok := keyOf(key.namespace, s)
		if !ok {
			continue
		}
		r.bySubject[k] = append(r.bySubject[k], &grant{key, role, reason(key, ref, s)})
		keys = append(keys, k)
	}
	r.byName[key] = keys
}

func (r *RBAC) unbind(key bindingKey) {
	for _, k := range r.byName[key] {
		var rest []*grant
		for _, g := range r.bySubject[k] {
			if g.binding != key {
				rest = append(rest, g)
			}
		}
		if len(rest) == 0 {
			delete(r.bySubject, k)
		} else {
			r.bySubject[k] = rest
		}
	}
	delete(r.byName, key)
}

func roleOf(binding bindingKey, ref rbacv1.RoleRef) (roleKey, bool) {
	switch {
	case ref.Kind == "ClusterRole":
		return roleKey{"", ref.Name}, true
	case ref.Kind == "Role" && binding.namespace != "":
		return roleKey{binding.namespace, ref.Name}, true
	}
	return roleKey{}, false
}

func keyOf(namespace string, s rbacv1.Subject) (subjectKey, bool) {
	switch s.Kind {
	case rbacv1.UserKind:
		return subjectKey{namespace, false, s.Name}, true
	case rbacv1.GroupKind:
		return subjectKey{namespace, true, s.Name}, true
	case rbacv1.ServiceAccountKind:
		ns := s.Namespace
		if ns == "" {
			ns = namespace
		}
		return subjectKey{namespace, false, identity.ServiceAccount(ns, s.Name)}, ns != ""
	}
	return subjectKey{}, false
}

func reason(b bindingKey, ref rbacv1.RoleRef, s rbacv1.Subject) string {
	subject := fmt.Sprintf("%s %q", s.Kind, s.Name)
	if s.Kind == rbacv1.ServiceAccountKind {
		subject = fmt.Sprintf("ServiceAccount %q", s.Name+"/"+s.Namespace)
	}
	if b.namespace == "" {
		return fmt.Sprintf("RBAC: allowed by ClusterRoleBinding %q of %s %q to %s", b.name, ref.Kind, ref.Name, subject)
	}
	return fmt.Sprintf("RBAC: allowed by RoleBinding %q of %s %q to %s", b.name+"/"+b.namespace, ref.Kind, ref.Name, subject)
}

// visit calls f for every grant that the user has in the namespace, the cluster's first, until it returns false. The lock is held.
func (r *RBAC) visit(u *identity.User, namespace string, f func(*grant) bool) {
	if !r.visitScope(u, "", f) || namespace == "" {
		return
	}
	r.visitScope(u, namespace, f)
}

func (r *RBAC) visitScope(u *identity.User, scope string, f func(*grant) bool) bool {
	for _, g := range r.bySubject[subjectKey{scope, false, u.Name}] {
		if !f(g) {
			return false
		}
	}
	for _, group := range u.Groups {
		for _, g := range r.bySubject[subjectKey{scope, true, group}] {
			if !f(g) {
				return false
			}
		}
	}
	return true
}

// Authorize implements Authorizer.
func (r *RBAC) Authorize(_ context.Context, a Attributes) (Decision, string, error) {
	if a.User == nil {
		return NoOpinion, "", errors.New("authorize request: it has no user")
	}
	namespace := a.Namespace
	if !a.ResourceRequest {
		namespace = "" // a namespace's bindings say nothing about paths
	}
	var found *grant
	r.mu.RLock()
	r.visit(a.User, namespace, func(g *grant) bool {
		if allowed(r.roles[g.role], &a) {
			found = g
			return false
		}
		return true
	})
	var missing string
	if found == nil {
		missing = r.missing(a.User, namespace)
	}
	r.mu.RUnlock()
	if found != nil {
		return Allow, found.reason, nil
	}
	return NoOpinion, missing, nil
}

// missing names roles that the user is bound to and that do not exist: mostly a typing error, hard to see otherwise.
func (r *RBAC) missing(u *identity.User, namespace string) string {
	var lost []string
	r.visit(u, namespace, func(g *grant) bool {
		if _, ok := r.roles[g.role]; !ok {
			kind := "clusterrole"
			if g.role.namespace != "" {
				kind = "role"
			}
			lost = append(lost, fmt.Sprintf("%s.rbac.authorization.k8s.io %q not found", kind, g.role.name))
		}
		return true
	})
	switch len(lost) {
	case 0:
		return ""
	case 1:
		return "RBAC: " + lost[0]
	}
	return "RBAC: [" + strings.Join(lost, ", ") + "]"
}

// PolicyFor is every rule that the user has in the namespace; "" asks for cluster-wide rules only.
func (r *RBAC) PolicyFor(u *identity.User, namespace string) []rbacv1.PolicyRule {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var out []rbacv1.PolicyRule
	r.visit(u, namespace, func(g *grant) bool {
		out = append(out, r.roles[g.role]...)
		return true
	})
	return out
}

// Role is the rules that a role reference in a namespace ("" for a ClusterRoleBinding) stands for.
func (r *RBAC) Role(ref rbacv1.RoleRef, namespace string) ([]rbacv1.PolicyRule, bool) {
	key, ok := roleOf(bindingKey{namespace: namespace}, ref)
	if !ok {
		return nil, false
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	rules, ok := r.roles[key]
	return rules, ok
}

// RulesFor implements RuleResolver.
func (r *RBAC) RulesFor(_ context.Context, u *identity.User, namespace string) (Rules, bool, error) {
	return toRules(r.PolicyFor(u, namespace)), false, nil
}
