package match

import (
	"context"

	"github.com/google/cel-go/common/types/ref"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/cel/library"

	"nau/internal/apiserver/admission"
	"nau/internal/apiserver/authz"
	"nau/internal/apiserver/identity"
)

// asks lets the expression library's authorizer functions ask ours.
type asks struct{ authz.Authorizer }

func (a asks) Authorize(ctx context.Context, q authorizer.Attributes) (authorizer.Decision, string, error) {
	if a.Authorizer == nil {
		return authorizer.DecisionNoOpinion, "", nil
	}
	of := authz.Attributes{Verb: q.GetVerb(), Namespace: q.GetNamespace(), APIGroup: q.GetAPIGroup(), APIVersion: q.GetAPIVersion(), Resource: q.GetResource(),
		Subresource: q.GetSubresource(), Name: q.GetName(), Path: q.GetPath(), ResourceRequest: q.IsResourceRequest()}
	if u := q.GetUser(); u != nil {
		of.User = &identity.User{Name: u.GetName(), UID: u.GetUID(), Groups: u.GetGroups(), Extra: u.GetExtra()}
	}
	d, reason, err := a.Authorizer.Authorize(ctx, of)
	switch d {
	case authz.Allow:
		return authorizer.DecisionAllow, reason, nil
	case authz.Deny:
		return authorizer.DecisionDeny, reason, err
	}
	return authorizer.DecisionNoOpinion, reason, err
}

// target is the request's resource, which authorizer.requestResource starts from.
type target struct{ r *admission.Request }

func (t target) GetName() string                          { return t.r.Name }
func (t target) GetNamespace() string                     { return t.r.Namespace }
func (t target) GetResource() schema.GroupVersionResource { return t.r.Resource }
func (t target) GetSubresource() string                   { return t.r.Subresource }

func authorizerOf(r *admission.Request, z authz.Authorizer) (who, check ref.Val) {
	u := &user.DefaultInfo{}
	if r.User != nil {
		u = &user.DefaultInfo{Name: r.User.Name, UID: r.User.UID, Groups: r.User.Groups, Extra: r.User.Extra}
	}
	return library.NewAuthorizerVal(u, asks{z}), library.NewResourceAuthorizerVal(u, asks{z}, target{r})
}
