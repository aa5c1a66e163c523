package authz

import (
	"context"
	"fmt"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nau/internal/apiserver/identity"
)

func user(name string, groups ...string) *identity.User {
	return &identity.User{Name: name, Groups: append(groups, identity.Authenticated)}
}

func named(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name}
}

func rule(verbs, groups, resources string, names ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: strings.Split(verbs, ","), APIGroups: strings.Split(groups, ","), Resources: strings.Split(resources, ","), ResourceNames: names}
}

func subject(kind, name string) rbacv1.Subject { return rbacv1.Subject{Kind: kind, Name: name} }

func world() *RBAC {
	r := NewRBAC()
	for _, obj := range []any{
		&rbacv1.ClusterRole{ObjectMeta: named("", "root"), Rules: []rbacv1.PolicyRule{rule("*", "*", "*"), {Verbs: []string{"*"}, NonResourceURLs: []string{"*"}}}},
		&rbacv1.ClusterRole{ObjectMeta: named("", "reader"), Rules: []rbacv1.PolicyRule{rule("get,list,watch", ",apps", "pods,deployments")}},
		&rbacv1.ClusterRole{ObjectMeta: named("", "health"), Rules: []rbacv1.PolicyRule{{Verbs: []string{"get"}, NonResourceURLs: []string{"/healthz", "/livez/*"}}}},
		&rbacv1.ClusterRole{ObjectMeta: named("", "scaler"), Rules: []rbacv1.PolicyRule{rule("update", "*", "*/scale")}},
		&rbacv1.Role{ObjectMeta: named("a", "one-secret"), Rules: []rbacv1.PolicyRule{rule("get", "", "secrets", "db")}},
		&rbacv1.Role{ObjectMeta: named("b", "one-secret"), Rules: []rbacv1.PolicyRule{rule("get", "", "secrets", "cache")}},
		&rbacv1.Role{ObjectMeta: named("a", "logs"), Rules: []rbacv1.PolicyRule{rule("get", "", "pods/log")}},

		&rbacv1.ClusterRoleBinding{ObjectMeta: named("", "ops"), RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "root"}, Subjects: []rbacv1.Subject{subject("Group", "ops")}},
		&rbacv1.ClusterRoleBinding{ObjectMeta: named("", "health"), RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "health"}, Subjects: []rbacv1.Subject{subject("Group", "system:unauthenticated")}},
		&rbacv1.ClusterRoleBinding{ObjectMeta: named("", "scaler"), RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "scaler"}, Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "kube-system", Name: "hpa"}}},
		&rbacv1.RoleBinding{ObjectMeta: named("a", "readers"), RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "reader"}, Subjects: []rbacv1.Subject{subject("User", "alice"), subject("ServiceAccount", "bot")}},
		&rbacv1.RoleBinding{ObjectMeta: named("a", "secret"), RoleRef: rbacv1.RoleRef{Kind: "Role", Name: "one-secret"}, Subjects: []rbacv1.Subject{subject("User", "alice")}},
		&rbacv1.RoleBinding{ObjectMeta: named("a", "logs"), RoleRef: rbacv1.RoleRef{Kind: "Role", Name: "logs"}, Subjects: []rbacv1.Subject{subject("User", "alice")}},
		&rbacv1.RoleBinding{ObjectMeta: named("b", "lost"), RoleRef: rbacv1.RoleRef{Kind: "Role", Name: "gone"}, Subjects: []rbacv1.Subject{subject("User", "alice")}},
		// A ClusterRoleBinding cannot refer to a Role: nobody gets anything.
		&rbacv1.ClusterRoleBinding{ObjectMeta: named("", "odd"), RoleRef: rbacv1.RoleRef{Kind: "Role", Name: "one-secret"}, Subjects: []rbacv1.Subject{subject("User", "eve")}},
	} {
		r.Set(obj)
	}
	return r
}

// ask reads "VERB GROUP/RESOURCE[/SUB] [NAMESPACE] [NAME]", with "-" for nothing, or "VERB /path".
func ask(u *identity.User, q string) Attributes {
	f := strings.Fields(q)
	a := Attributes{User: u, Verb: f[0]}
	if strings.HasPrefix(f[1], "/") {
		a.Path = f[1]
		return a
	}
	a.ResourceRequest = true
	p := strings.Split(f[1], "/")
	if p[0] != "core" {
		a.APIGroup = p[0]
	}
	a.Resource = p[1]
	if len(p) > 2 {
		a.Subresource = p[2]
	}
	if len(f) > 2 && f[2] != "-" {
		a.Namespace = f[2]
	}
	if len(f) > 3 {
		a.Name = f[3]
	}
	return a
}

func TestRBACMatrix(t *testing.T) {
	r := world()
	alice, anonymous := user("alice"), &identity.User{Name: identity.Anonymous, Groups: []string{identity.Unauthenticated}}
	bot, hpa := user("system:serviceaccount:a:bot"), user("system:serviceaccount:kube-system:hpa")
	for _, tc := range []struct {
		who  *identity.User
		ask  string
		want Decision
	}{
		{user("root", "ops"), "delete core/secrets kube-system x", Allow},
		{user("root", "ops"), "deletecollection any.example/things", Allow},
		{user("root", "ops"), "post /anything", Allow},
		{user("ops"), "get core/pods a", NoOpinion}, // a user called as a group

		{alice, "get core/pods a x", Allow},
		{alice, "list apps/deployments a", Allow},
		{alice, "list batch/jobs a", NoOpinion},
		{alice, "delete core/pods a x", NoOpinion},
		{alice, "get core/pods b x", NoOpinion},
		{alice, "list core/pods", NoOpinion},
		{alice, "get core/pods/log a x", Allow},
		{alice, "get core/pods/exec a x", NoOpinion},
		{alice, "get core/pods/status a x", NoOpinion},
		{alice, "get core/secrets a db", Allow},
		{alice, "get core/secrets a cache", NoOpinion},
		{alice, "list core/secrets a", NoOpinion},
		{alice, "get core/secrets b cache", NoOpinion},
		{alice, "get /healthz", NoOpinion},
		{alice, "get /healthz/x", NoOpinion},

		{bot, "watch core/pods a", Allow},
		{user("system:serviceaccount:b:bot"), "watch core/pods a", NoOpinion},
		{hpa, "update apps/deployments/scale x y", Allow},
		{hpa, "update foo.example/bars/scale x y", Allow},
		{hpa, "update apps/deployments x y", NoOpinion},
		{hpa, "get apps/deployments/scale x y", NoOpinion},

		{anonymous, "get /healthz", Allow},
		{anonymous, "get /livez/ping", Allow},
		{anonymous, "get /livez", NoOpinion},
		{anonymous, "post /healthz", NoOpinion},
		{anonymous, "get core/pods a", NoOpinion},
		{user("eve"), "get core/secrets a db", NoOpinion},
		{user("system:masters"), "get core/secrets a db", NoOpinion},
	} {
		d, why, err := r.Authorize(t.Context(), ask(tc.who, tc.ask))
		if d != tc.want || err != nil {
			t.Errorf("%s: %s = %v (%s %v), want %v", tc.who.Name, tc.ask, d, why, err, tc.want)
		}
		if d == Allow && !strings.HasPrefix(why, "RBAC: allowed by ") {
			t.Errorf("%s: %s: reason %q", tc.who.Name, tc.ask, why)
		}
	}
	_, why, _ := r.Authorize(t.Context(), ask(alice, "get core/secrets b x"))
	if why != `RBAC: role.rbac.authorization.k8s.io "gone" not found` {
		t.Errorf("reason of a lost role: %q", why)
	}
	_, why, _ = r.Authorize(t.Context(), ask(alice, "get core/pods a x"))
	if why != `RBAC: allowed by RoleBinding "readers/a" of ClusterRole "reader" to User "alice"` {
		t.Errorf("reason: %q", why)
	}
}

func TestRBACFollowsChanges(t *testing.T) {
	r := world()
	alice := ask(user("alice"), "get core/pods a x")
	may := func(want Decision, why string) {
		t.Helper()
		if d, _, _ := r.Authorize(context.Background(), alice); d != want {
			t.Errorf("%s: %v, want %v", why, d, want)
		}
	}
	binding := &rbacv1.RoleBinding{ObjectMeta: named("a", "readers"), RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "reader"}, Subjects: []rbacv1.Subject{subject("User", "bob")}}
	may(Allow, "before")
	r.Set(binding)
	may(NoOpinion, "subject removed")
	binding.Subjects = append(binding.Subjects, subject("User", "alice"))
	r.Set(binding)
	may(Allow, "subject added")
	r.Set(&rbacv1.ClusterRole{ObjectMeta: named("", "reader")})
	may(NoOpinion, "role emptied")
	r.Set(&rbacv1.ClusterRole{ObjectMeta: named("", "reader"), Rules: []rbacv1.PolicyRule{rule("get", "", "pods")}})
	may(Allow, "role filled")
	r.Remove(&rbacv1.ClusterRole{ObjectMeta: named("", "reader")})
	may(NoOpinion, "role deleted")
	r.Set(&rbacv1.ClusterRole{ObjectMeta: named("", "reader"), Rules: []rbacv1.PolicyRule{rule("get", "", "pods")}})
	r.Remove(binding)
	may(NoOpinion, "binding deleted")
	for _, obj := range []any{&rbacv1.RoleBinding{ObjectMeta: named("a", "secret")}, &rbacv1.RoleBinding{ObjectMeta: named("a", "logs")}, &rbacv1.RoleBinding{ObjectMeta: named("b", "lost")}} {
		r.Remove(obj)
	}
	for k := range r.bySubject {
		if k.name == "alice" || k.name == "bob" {
			t.Errorf("left over in the index: %+v", k)
		}
	}
}

func TestUnionAndMasters(t *testing.T) {
	r := world()
	u := Union{Masters{}, r}
	if d, _, _ := u.Authorize(t.Context(), ask(user("x", identity.Masters), "delete core/nodes - n")); d != Allow {
		t.Error("system:masters refused")
	}
	if d, _, _ := (Union{Always(Deny), Masters{}}).Authorize(t.Context(), ask(user("x", identity.Masters), "get /x")); d != Deny {
		t.Error("an earlier no was overruled")
	}
	if d, _, _ := (Union{}).Authorize(t.Context(), ask(user("x"), "get /x")); d != NoOpinion {
		t.Error("nobody allowed it")
	}
	rules, incomplete, err := u.RulesFor(t.Context(), user("alice"), "a")
	if err != nil || incomplete || len(rules.Resource) != 3 || len(rules.NonResource) != 0 {
		t.Errorf("rules of alice: %+v %v %v", rules, incomplete, err)
	}
}

func BenchmarkRBAC(b *testing.B) {
	r := world()
	for i := range 5000 { // a crowded cluster costs nobody else anything
		r.Set(&rbacv1.RoleBinding{ObjectMeta: named("a", fmt.Sprint("b", i)), RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "reader"}, Subjects: []rbacv1.Subject{subject("User", fmt.Sprint("u", i))}})
	}
	a := ask(user("alice", "dev", "team-a"), "get core/pods a x")
	b.ReportAllocs()
	for b.Loop() {
		if d, _, _ := r.Authorize(context.Background(), a); d != Allow {
			b.Fatal(d)
		}
	}
}
