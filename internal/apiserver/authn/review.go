package authn

import (
	"context"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nau/internal/apiserver/identity"
)

// Review answers a TokenReview: it returns it with its status filled. An invalid token is a status, not an error.
func Review(ctx context.Context, tokens TokenAuthenticator, apiAudiences []string, review *authenticationv1.TokenReview) *authenticationv1.TokenReview {
	out := review.DeepCopy()
	out.Status = authenticationv1.TokenReviewStatus{}
	audiences := review.Spec.Audiences
	if len(audiences) == 0 {
		audiences = apiAudiences
	}
	if review.Spec.Token == "" {
		out.Status.Error = "token is required for TokenReview in authentication"
		return out
	}
	resp, ok, err := tokens.AuthenticateToken(ctx, review.Spec.Token, audiences)
	switch {
	case err != nil:
		out.Status.Error = err.Error()
		return out
	case !ok:
		out.Status.Error = "invalid bearer token"
		return out
	}
	resp = named(resp)
	out.Status.Authenticated = true
	out.Status.User = UserInfo(resp.User)
	out.Status.Audiences = resp.Audiences
	return out
}

// UserInfo is a user as the API shows it.
func UserInfo(u *identity.User) authenticationv1.UserInfo {
	out := authenticationv1.UserInfo{Username: u.Name, UID: u.UID, Groups: u.Groups}
	if len(u.Extra) > 0 {
		out.Extra = make(map[string]authenticationv1.ExtraValue, len(u.Extra))
		for k, v := range u.Extra {
			out.Extra[k] = v
		}
	}
	return out
}

// ReviewSelf answers a SelfSubjectReview.
func ReviewSelf(u *identity.User, review *authenticationv1.SelfSubjectReview) *authenticationv1.SelfSubjectReview {
	out := review.DeepCopy()
	out.CreationTimestamp = metav1.Now()
	out.Status.UserInfo = UserInfo(u)
	return out
}
