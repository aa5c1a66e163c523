package rbac

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"

	"nau/internal/apiserver/authz"
	"nau/internal/apiserver/identity"
)

var rewrite = flag.Bool("rewrite", false, "write testdata/policy.golden anew")

// TestDefaultPolicyIsKnown keeps the default roles from changing unseen: review the diff of the golden file.
func TestDefaultPolicyIsKnown(t *testing.T) {
	got := transcript(Default())
	if *rewrite {
		if err := os.WriteFile("testdata/policy.golden", []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/policy.golden")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("default policy changed (go test -rewrite takes it over):\n%s", diff)
	}
}

func transcript(p *Policy) string {
	var b strings.Builder
	lines := func(rs []rbacv1.PolicyRule) {
		for _, r := range rs {
			fmt.Fprintf(&b, "  %s\n", show(r))
		}
	}
	subjects := func(list []rbacv1.Subject) {
		for _, s := range list {
			fmt.Fprintf(&b, "  %s %s\n", s.Kind, strings.TrimPrefix(s.Namespace+"/"+s.Name, "/"))
		}
	}
	for _, r := range p.ClusterRoles {
		fmt.Fprintf(&b, "ClusterRole %s", r.Name)
		for k := range r.Labels {
			if k != bootstrapping {
				fmt.Fprintf(&b, " %s", k)
			}
		}
		if r.AggregationRule != nil {
			fmt.Fprintf(&b, " gathers %v", r.AggregationRule.ClusterRoleSelectors[0].MatchLabels)
		}
		b.WriteString("\n")
		lines(r.Rules)
	}
	for _, x := range p.ClusterRoleBindings {
		fmt.Fprintf(&b, "ClusterRoleBinding %s = %s\n", x.Name, x.RoleRef.Name)
		subjects(x.Subjects)
	}
	for _, r := range p.Roles {
		fmt.Fprintf(&b, "Role %s/%s\n", r.Namespace, r.Name)
		lines(r.Rules)
	}
	for _, x := range p.RoleBindings {
		fmt.Fprintf(&b, "RoleBinding %s/%s = %s %s\n", x.Namespace, x.Name, x.RoleRef.Kind, x.RoleRef.Name)
		subjects(x.Subjects)
	}
	return b.String()
}

// load is an evaluator that knows a policy and a few bindings of a cluster's users.
func load(p *Policy) *authz.RBAC {
	r := authz.NewRBAC()
	for _, o := range p.ClusterRoles {
		r.Set(o)
	}
	for _, o := range p.ClusterRoleBindings {
		r.Set(o)
	}
	for _, o := range p.Roles {
		r.Set(o)
	}
	for _, o := range p.RoleBindings {
		r.Set(o)
	}
	for _, role := range []string{"admin", "edit", "view"} {
		r.Set(&rbacv1.RoleBinding{ObjectMeta: meta("team", role), Subjects: []rbacv1.Subject{user(role)}, RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: role}})
	}
	return r
}

func who(name string, groups ...string) *identity.User {
	return &identity.User{Name: name, Groups: append(groups, identity.Authenticated)}
}

// TestTenancy is the matrix of who may do what under the default policy: deny by default.
func TestTenancy(t *testing.T) {
	r := load(Default())
	anonymous := &identity.User{Name: identity.Anonymous, Groups: []string{identity.Unauthenticated}}
	pod := who("system:serviceaccount:team:default", identity.ServiceAccountsGroup, "system:serviceaccounts:team")
	node := who("system:node:n1", identity.Nodes)
	gc := who("system:serviceaccount:kube-system:generic-garbage-collector", identity.ServiceAccountsGroup)
	deployments := who("system:serviceaccount:kube-system:deployment-controller", identity.ServiceAccountsGroup)
	scheduler := who(identity.Scheduler)
	const yes, no = authz.Allow, authz.NoOpinion
	for _, tc := range []struct {
		who                            *identity.User
		verb, group, resource, ns, res string
		want                           authz.Decision
	}{
		{anonymous, "get", "", "pods", "team", "p", no},
		{anonymous, "create", "authorization.k8s.io", "selfsubjectaccessreviews", "", "", no},
		{pod, "get", "", "secrets", "team", "s", no},
		{pod, "list", "", "pods", "team", "", no},
		{pod, "create", "authorization.k8s.io", "selfsubjectaccessreviews", "", "", yes},
		{pod, "create", "authentication.k8s.io", "selfsubjectreviews", "", "", yes},
		{pod, "create", "authentication.k8s.io", "tokenreviews", "", "", no},
		{node, "get", "", "secrets", "team", "s", no}, // only the node authorizer answers for nodes
		{node, "list", "", "pods", "", "", no},

		{who("view"), "get", "", "pods", "team", "p", yes},
		{who("view"), "get", "", "pods/log", "team", "p", yes},
		{who("view"), "get", "", "secrets", "team", "s", no},
		{who("view"), "create", "", "pods/exec", "team", "p", no},
		{who("view"), "get", "", "pods", "other", "p", no},
		{who("view"), "list", "", "nodes", "", "", no},
		{who("view"), "delete", "", "pods", "team", "p", no},
		{who("edit"), "get", "", "secrets", "team", "s", yes},
		{who("edit"), "create", "", "pods/exec", "team", "p", yes},
		{who("edit"), "patch", "apps", "deployments/scale", "team", "d", yes},
		{who("edit"), "create", "rbac.authorization.k8s.io", "rolebindings", "team", "", no},
		{who("edit"), "update", "", "resourcequotas", "team", "q", no},
		{who("edit"), "create", "", "serviceaccounts/token", "team", "default", yes},
		{who("edit"), "create", "", "serviceaccounts/token", "kube-system", "generic-garbage-collector", no},
		{who("admin"), "create", "rbac.authorization.k8s.io", "rolebindings", "team", "", yes},
		{who("admin"), "create", "rbac.authorization.k8s.io", "clusterrolebindings", "", "", no},
		{who("admin"), "update", "", "resourcequotas", "team", "q", no},
		{who("admin"), "delete", "", "namespaces", "team", "team", no},
		{who("admin"), "bind", "rbac.authorization.k8s.io", "clusterroles", "team", "cluster-admin", no},
		{who("admin"), "escalate", "rbac.authorization.k8s.io", "roles", "team", "r", no},
		{who("admin"), "impersonate", "", "users", "", "root", no},

		{gc, "delete", "any.example", "things", "team", "x", yes},
		{gc, "create", "", "pods", "team", "", no},
		{deployments, "create", "apps", "replicasets", "team", "", yes},
		{deployments, "create", "", "pods", "team", "", no},
		{deployments, "get", "", "secrets", "team", "s", no},
		{scheduler, "create", "", "pods/binding", "team", "p", yes},
		{scheduler, "update", "", "pods", "team", "p", no},
		{scheduler, "list", "", "secrets", "", "", no},
		{who(NodeClient), "get", "", "nodes/proxy", "", "n1", yes},
		{who(NodeClient), "get", "", "secrets", "team", "s", no},
	} {
		a := authz.Attributes{User: tc.who, Verb: tc.verb, APIGroup: tc.group, Namespace: tc.ns, Name: tc.res, ResourceRequest: true}
		a.Resource, a.Subresource, _ = strings.Cut(tc.resource, "/")
		if d, why, _ := r.Authorize(t.Context(), a); d != tc.want {
			t.Errorf("%s %s %s/%s in %q: %v (%s), want %v", tc.who.Name, tc.verb, tc.group, tc.resource, tc.ns, d, why, tc.want)
		}
	}
	for _, tc := range []struct {
		who  *identity.User
		path string
		want authz.Decision
	}{
		{anonymous, "/livez", yes}, {anonymous, "/version", yes}, {anonymous, "/api", no}, {anonymous, "/metrics", no}, {anonymous, "/openid/v1/jwks", no},
		{pod, "/api/v1", yes}, {pod, "/openapi/v3", yes}, {pod, "/openid/v1/jwks", yes}, {pod, "/metrics", no}, {pod, "/debug/pprof/", no},
		{who("m", identity.Monitoring), "/metrics", yes}, {who("alice"), "/openid/v1/jwks", no},
	} {
		if d, _, _ := r.Authorize(t.Context(), authz.Attributes{User: tc.who, Verb: "get", Path: tc.path}); d != tc.want {
			t.Errorf("%s get %s: %v, want %v", tc.who.Name, tc.path, d, tc.want)
		}
	}
}
