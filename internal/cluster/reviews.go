package cluster

import (
	"context"
	"net/http"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"nau/internal/apiserver"
	"nau/internal/apiserver/authn"
	"nau/internal/apiserver/authz"
	"nau/internal/apiserver/identity"
)

// judge is an authorizer that can also list what somebody may do.
type judge interface {
	authz.Authorizer
	authz.RuleResolver
}

// reviewers answer the kinds that ask who one is and what one may do.
func reviewers(who *authn.Authentication, may judge) map[schema.GroupResource]apiserver.Reviewer {
	authentication := func(resource string) schema.GroupResource {
		return schema.GroupResource{Group: authenticationv1.GroupName, Resource: resource}
	}
	authorization := func(resource string) schema.GroupResource {
		return schema.GroupResource{Group: authorizationv1.GroupName, Resource: resource}
	}
	return map[schema.GroupResource]apiserver.Reviewer{
		authentication("tokenreviews"): func(ctx context.Context, _ *identity.User, _ string, obj runtime.Object) (runtime.Object, error) {
			return authn.Review(ctx, who.Tokens, who.Audiences, obj.(*authenticationv1.TokenReview)), nil
		},
		authentication("selfsubjectreviews"): func(_ context.Context, u *identity.User, _ string, obj runtime.Object) (runtime.Object, error) {
			return authn.ReviewSelf(u, obj.(*authenticationv1.SelfSubjectReview)), nil
		},
		authorization("subjectaccessreviews"): func(ctx context.Context, _ *identity.User, _ string, obj runtime.Object) (runtime.Object, error) {
			return authz.Review(ctx, may, obj.(*authorizationv1.SubjectAccessReview))
		},
		authorization("localsubjectaccessreviews"): func(ctx context.Context, _ *identity.User, namespace string, obj runtime.Object) (runtime.Object, error) {
			return authz.ReviewLocal(ctx, may, namespace, obj.(*authorizationv1.LocalSubjectAccessReview))
		},
		authorization("selfsubjectaccessreviews"): func(ctx context.Context, u *identity.User, _ string, obj runtime.Object) (runtime.Object, error) {
			return authz.ReviewSelf(ctx, may, u, obj.(*authorizationv1.SelfSubjectAccessReview))
		},
		authorization("selfsubjectrulesreviews"): func(ctx context.Context, u *identity.User, _ string, obj runtime.Object) (runtime.Object, error) {
			return authz.ReviewRules(ctx, may, u, obj.(*authorizationv1.SelfSubjectRulesReview))
		},
	}
}

// issuerPaths are the documents by which others verify service account tokens
// (OpenID Connect discovery).
func issuerPaths(accounts *authn.ServiceAccounts, issuer string) map[string]http.Handler {
	return map[string]http.Handler{
		"/.well-known/openid-configuration": accounts.ServeDiscovery(issuer + "/openid/v1/jwks"),
		"/openid/v1/jwks":                   http.HandlerFunc(accounts.ServeKeys),
	}
}
