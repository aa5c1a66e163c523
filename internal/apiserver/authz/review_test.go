package authz

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nau/internal/apiserver/identity"
)

func TestReviews(t *testing.T) {
	r := world()
	pods := &authorizationv1.ResourceAttributes{Namespace: "a", Verb: "get", Resource: "pods", Name: "x"}
	review, err := Review(t.Context(), r, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: "alice", ResourceAttributes: pods}})
	if err != nil || !review.Status.Allowed || review.Status.Denied {
		t.Errorf("%v %+v", err, review)
	}
	review, err = Review(t.Context(), r, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{Groups: []string{"ops"},
		NonResourceAttributes: &authorizationv1.NonResourceAttributes{Verb: "get", Path: "/x"}}})
	if err != nil || !review.Status.Allowed {
		t.Errorf("%v %+v", err, review)
	}
	for name, spec := range map[string]authorizationv1.SubjectAccessReviewSpec{
		"no user": {ResourceAttributes: pods},
		"nothing": {User: "alice"},
		"both":    {User: "alice", ResourceAttributes: pods, NonResourceAttributes: &authorizationv1.NonResourceAttributes{}},
	} {
		if _, err := Review(t.Context(), r, &authorizationv1.SubjectAccessReview{Spec: spec}); !apierrors.IsInvalid(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	local := &authorizationv1.LocalSubjectAccessReview{ObjectMeta: metav1.ObjectMeta{Namespace: "a"}, Spec: authorizationv1.SubjectAccessReviewSpec{User: "alice", ResourceAttributes: pods}}
	if got, err := ReviewLocal(t.Context(), r, "a", local); err != nil || !got.Status.Allowed {
		t.Errorf("%v %+v", err, got)
	}
	if _, err := ReviewLocal(t.Context(), r, "b", local); !apierrors.IsInvalid(err) {
		t.Errorf("other namespace: %v", err)
	}
	self, err := ReviewSelf(t.Context(), r, user("alice"), &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: pods}})
	if err != nil || !self.Status.Allowed {
		t.Errorf("%v %+v", err, self)
	}
	rules, err := ReviewRules(t.Context(), Union{Masters{}, r}, user("alice"), &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: "a"}})
	if err != nil || len(rules.Status.ResourceRules) != 3 || rules.Status.Incomplete || rules.Status.NonResourceRules == nil {
		t.Errorf("%v %+v", err, rules)
	}
	a, err := attributesOf(authorizationv1.SubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
		FieldSelector: &authorizationv1.FieldSelectorAttributes{Requirements: []metav1.FieldSelectorRequirement{{Key: "spec.nodeName", Operator: "In", Values: []string{"n1"}}}},
		LabelSelector: &authorizationv1.LabelSelectorAttributes{RawSelector: "a in (b)"}}})
	if v, ok := required(a.FieldSelector, "spec.nodeName"); err != nil || !ok || v != "n1" || a.LabelSelector.String() != "a in (b)" {
		t.Errorf("%v %+v", err, a)
	}
}

func TestImpersonation(t *testing.T) {
	r := world()
	r.Set(&rbacv1.ClusterRole{ObjectMeta: named("", "imp"), Rules: []rbacv1.PolicyRule{
		rule("impersonate", "", "users", "bob"), rule("impersonate", "", "groups", "dev"), rule("impersonate", "", "serviceaccounts"),
		rule("impersonate", "authentication.k8s.io", "userextras/scopes", "view"), rule("impersonate", "authentication.k8s.io", "uids", "u1")}})
	r.Set(&rbacv1.ClusterRoleBinding{ObjectMeta: named("", "imp"), RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "imp"}, Subjects: []rbacv1.Subject{subject("User", "gate")}})
	for _, tc := range []struct {
		name   string
		by     string
		h      http.Header
		want   string
		groups []string
		is     func(error) bool
	}{
		{name: "nobody", by: "gate", h: http.Header{"Accept": {"x"}}},
		{name: "bob", by: "gate", h: http.Header{"Impersonate-User": {"bob"}}, want: "bob", groups: []string{identity.Authenticated}},
		{name: "bob with all", by: "gate", h: http.Header{"Impersonate-User": {"bob"}, "Impersonate-Group": {"dev"}, "Impersonate-Uid": {"u1"}, "Impersonate-Extra-Scopes": {"view"}},
			want: "bob", groups: []string{"dev", identity.Authenticated}},
		{name: "account", by: "gate", h: http.Header{"Impersonate-User": {"system:serviceaccount:a:bot"}}, want: "system:serviceaccount:a:bot",
			groups: []string{identity.ServiceAccountsGroup, "system:serviceaccounts:a", identity.Authenticated}},
		{name: "other user", by: "gate", h: http.Header{"Impersonate-User": {"root"}}, is: apierrors.IsForbidden},
		{name: "masters", by: "gate", h: http.Header{"Impersonate-User": {"bob"}, "Impersonate-Group": {"system:masters"}}, is: apierrors.IsForbidden},
		{name: "other extra", by: "gate", h: http.Header{"Impersonate-User": {"bob"}, "Impersonate-Extra-Scopes": {"admin"}}, is: apierrors.IsForbidden},
		{name: "other uid", by: "gate", h: http.Header{"Impersonate-User": {"bob"}, "Impersonate-Uid": {"u2"}}, is: apierrors.IsForbidden},
		{name: "without the right", by: "alice", h: http.Header{"Impersonate-User": {"bob"}}, is: apierrors.IsForbidden},
		{name: "group only", by: "gate", h: http.Header{"Impersonate-Group": {"dev"}}, is: apierrors.IsBadRequest},
		{name: "anybody by an admin", by: "root", h: http.Header{"Impersonate-User": {"system:anonymous"}}, want: "system:anonymous", groups: []string{identity.Unauthenticated}},
	} {
		by := user(tc.by)
		if tc.by == "root" {
			by = user("root", "ops")
		}
		u, err := Impersonate(t.Context(), r, by, tc.h)
		if tc.is != nil {
			if !tc.is(err) || u != nil {
				t.Errorf("%s: %+v %v", tc.name, u, err)
			}
			continue
		}
		if err != nil || (tc.want == "") != (u == nil) || (u != nil && (u.Name != tc.want || !slices.Equal(u.Groups, tc.groups))) {
			t.Errorf("%s: %+v %v", tc.name, u, err)
		}
		StripImpersonation(tc.h)
		for h := range tc.h {
			if strings.HasPrefix(h, "Impersonate") {
				t.Errorf("%s: header %s left", tc.name, h)
			}
		}
	}
}

func TestRefusal(t *testing.T) {
	err := Forbidden(ask(user("alice"), "list apps/deployments b"), "")
	if err.Error() != `deployments.apps is forbidden: User "alice" cannot list resource "deployments" in API group "apps" in the namespace "b"` {
		t.Error(err)
	}
	err = Forbidden(ask(user("alice"), "get core/nodes/proxy - n1"), "why")
	if err.Error() != `nodes "n1" is forbidden: User "alice" cannot get resource "nodes/proxy" in API group "" at the cluster scope: why` {
		t.Error(err)
	}
	err = Forbidden(ask(user("alice"), "get /metrics"), "")
	if err.Error() != `forbidden: User "alice" cannot get path "/metrics"` {
		t.Error(err)
	}
}
