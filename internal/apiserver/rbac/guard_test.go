package rbac

import (
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"nau/internal/apiserver/admission"
	"nau/internal/apiserver/authz"
	"nau/internal/apiserver/identity"
)

func TestNobodyGivesAwayMoreThanHeHas(t *testing.T) {
	r := load(Default())
	for name, rs := range map[string]rules{
		"binder":    {on("rbac.authorization.k8s.io", "clusterroles", "bind", "cluster-admin")},
		"escalator": {on("rbac.authorization.k8s.io", "roles clusterroles", "escalate")},
	} {
		r.Set(&rbacv1.ClusterRole{ObjectMeta: meta("", name), Rules: rs})
		r.Set(clusterBinding(name, name, user(name)))
	}
	g := NewGuard(r, authz.Union{authz.Masters{}, r})
	ref := func(kind, name string) rbacv1.RoleRef {
		return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: name}
	}
	pods := rules{on("core", "pods", "get")}
	role := func(rs rules) *rbacv1.Role { return &rbacv1.Role{ObjectMeta: meta("team", "r"), Rules: rs} }
	clusterRole := func(rs rules) *rbacv1.ClusterRole { return &rbacv1.ClusterRole{ObjectMeta: meta("", "r"), Rules: rs} }
	aggregated := &rbacv1.ClusterRole{ObjectMeta: meta("", "r"), AggregationRule: &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{}}}}
	binding := func(r rbacv1.RoleRef) *rbacv1.RoleBinding {
		return &rbacv1.RoleBinding{ObjectMeta: meta("team", "b"), RoleRef: r}
	}
	for _, tc := range []struct {
		name     string
		who      *identity.User
		resource string
		obj, old runtime.Object
		is       func(error) bool // nil: allowed
	}{
		{"a role with what one has", who("admin"), "roles", role(pods), nil, nil},
		{"a role with more", who("admin"), "roles", role(rules{on("core", "nodes", "get")}), nil, apierrors.IsForbidden},
		{"a role with everything", who("admin"), "roles", role(rules{on("*", "*", "*")}), nil, apierrors.IsForbidden},
		{"labels of a role that is larger", who("admin"), "roles", role(fullAuthority), role(fullAuthority), nil},
		{"one's own role made larger", who("admin"), "roles", role(rules{on("core", "pods", "*")}), role(pods), apierrors.IsForbidden},
		{"what one has here, for everywhere", who("admin"), "clusterroles", clusterRole(pods), nil, apierrors.IsForbidden},
		{"a role by an escalator", who("escalator"), "roles", role(fullAuthority), nil, nil},
		{"an aggregation", who("admin"), "clusterroles", aggregated, nil, apierrors.IsForbidden},
		{"an aggregation by an admin of all", who("root", identity.Masters), "clusterroles", aggregated, nil, nil},
		{"taking an aggregation over", who("admin"), "clusterroles", clusterRole(nil), aggregated, apierrors.IsForbidden},
		{"a path", who("admin"), "clusterroles", clusterRole(rules{paths("/metrics", "get")}), nil, apierrors.IsForbidden},
		{"binding edit in one's namespace", who("admin"), "rolebindings", binding(ref("ClusterRole", "edit")), nil, nil},
		{"binding cluster-admin in one's namespace", who("admin"), "rolebindings", binding(ref("ClusterRole", "cluster-admin")), nil, apierrors.IsForbidden},
		{"binding a role that does not exist", who("admin"), "rolebindings", binding(ref("Role", "none")), nil, apierrors.IsNotFound},
		{"binding cluster-admin by the verb", who("binder"), "clusterrolebindings", clusterBinding("x", "cluster-admin", user("binder")), nil, nil},
		{"binding another role by the verb for one", who("binder"), "clusterrolebindings", clusterBinding("x", "system:kube-scheduler"), nil, apierrors.IsForbidden},
		{"a controller gives itself all", who("system:serviceaccount:kube-system:generic-garbage-collector"), "clusterrolebindings",
			clusterBinding("x", "cluster-admin", account("generic-garbage-collector")), nil, apierrors.IsForbidden},
		{"adding a subject to cluster-admin", who("system:serviceaccount:kube-system:generic-garbage-collector"), "clusterrolebindings",
			clusterBinding("cluster-admin", "cluster-admin", user("me")), clusterBinding("cluster-admin", "cluster-admin"), apierrors.IsForbidden},
	} {
		op := admission.Create
		if tc.old != nil {
			op = admission.Update
		}
		req := &admission.Request{Resource: rbacv1.SchemeGroupVersion.WithResource(tc.resource), Operation: op, Object: tc.obj, OldObject: tc.old, User: tc.who, Name: "r"}
		if !strings.HasPrefix(tc.resource, "cluster") {
			req.Namespace = "team"
		}
		err := g.Validate(t.Context(), req)
		if (tc.is == nil && err != nil) || (tc.is != nil && !tc.is(err)) {
			t.Errorf("%s: %v", tc.name, err)
		}
		if err != nil && tc.name == "a role with more" && !strings.HasSuffix(err.Error(), "is attempting to grant RBAC permissions not currently held:\n"+`{APIGroups:[""], Resources:["nodes"], Verbs:["get"]}`) {
			t.Errorf("wording: %v", err)
		}
	}
}
