package authz

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"nau/internal/apiserver/identity"
)

// Impersonate reads the Impersonate-* headers and answers the user that the request shall count as, nil if none is asked for
// (Kubernetes docs, "User impersonation"). The requester needs the verb impersonate on everything that he wants to be. The caller
// removes the headers with StripImpersonation. Errors are API status errors.
func Impersonate(ctx context.Context, z Authorizer, requester *identity.User, h http.Header) (*identity.User, error) {
	want, err := impersonated(h)
	if want == nil || err != nil {
		return nil, err
	}
	for _, a := range impersonations(requester, want) {
		d, why, err := z.Authorize(ctx, a)
		if d == Allow {
			continue
		}
		if err != nil {
			why = strings.TrimSpace(why + " " + err.Error())
		}
		gr := schema.GroupResource{Group: a.APIGroup, Resource: a.Resource}
		if a.Subresource != "" {
			gr.Resource += "/" + a.Subresource
		}
		return nil, apierrors.NewForbidden(gr, a.Name, fmt.Errorf("%s", Refusal(a, why)))
	}
	return complete(want), nil
}

// StripImpersonation removes the headers, so that they do not travel on to a backend.
func StripImpersonation(h http.Header) {
	for name := range h {
		if name == authenticationv1.ImpersonateUserHeader || name == authenticationv1.ImpersonateUIDHeader || name == authenticationv1.ImpersonateGroupHeader ||
			strings.HasPrefix(name, authenticationv1.ImpersonateUserExtraHeaderPrefix) {
			delete(h, name)
		}
	}
}

func impersonated(h http.Header) (*identity.User, error) {
	u := &identity.User{Name: h.Get(authenticationv1.ImpersonateUserHeader), UID: h.Get(authenticationv1.ImpersonateUIDHeader),
		Groups: slices.Clone(h.Values(authenticationv1.ImpersonateGroupHeader))}
	for name, values := range h {
		rest, ok := strings.CutPrefix(name, authenticationv1.ImpersonateUserExtraHeaderPrefix)
		if !ok {
			continue
		}
		key := strings.ToLower(rest)
		if plain, err := url.PathUnescape(key); err == nil {
			key = plain
		}
		if u.Extra == nil {
			u.Extra = map[string][]string{}
		}
		u.Extra[key] = append(u.Extra[key], values...)
	}
	if u.Name == "" {
		if len(u.Groups) > 0 || len(u.Extra) > 0 || u.UID != "" {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("requested %v without impersonating a user name", h.Values(authenticationv1.ImpersonateGroupHeader)))
		}
		return nil, nil
	}
	return u, nil
}

// impersonations lists what must be allowed, in a fixed order.
func impersonations(requester, want *identity.User) []Attributes {
	var out []Attributes
	ask := func(group, namespace, resource, subresource, name string) {
		version := "v1"
		out = append(out, Attributes{User: requester, Verb: "impersonate", APIGroup: group, APIVersion: version, Namespace: namespace,
			Resource: resource, Subresource: subresource, Name: name, ResourceRequest: true})
	}
	if ns, name, ok := identity.SplitServiceAccount(want.Name); ok {
		ask("", ns, "serviceaccounts", "", name)
	} else {
		ask("", "", "users", "", want.Name)
	}
	for _, g := range want.Groups {
		ask("", "", "groups", "", g)
	}
	if want.UID != "" {
		ask(authenticationv1.GroupName, "", "uids", "", want.UID)
	}
	keys := make([]string, 0, len(want.Extra))
	for k := range want.Extra {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		for _, v := range want.Extra[k] {
			ask(authenticationv1.GroupName, "", "userextras", k, v)
		}
	}
	return out
}

// complete adds the groups that go without saying.
func complete(u *identity.User) *identity.User {
	if ns, _, ok := identity.SplitServiceAccount(u.Name); ok && len(u.Groups) == 0 {
		u.Groups = identity.ServiceAccountGroups(ns)
	}
	switch {
	case u.In(identity.Authenticated) || u.In(identity.Unauthenticated):
	case u.Name == identity.Anonymous:
		u.Groups = append(u.Groups, identity.Unauthenticated)
	default:
		u.Groups = append(u.Groups, identity.Authenticated)
	}
	return u
}

// Refusal words a denied request as clients of Kubernetes know it; it is the detail of a Forbidden status.
func Refusal(a Attributes, reason string) string {
	name := ""
	if a.User != nil {
		name = a.User.Name
	}
	var b strings.Builder
	if !a.ResourceRequest {
		fmt.Fprintf(&b, "User %q cannot %s path %q", name, a.Verb, a.Path)
	} else {
		resource := a.Resource
		if a.Subresource != "" {
			resource += "/" + a.Subresource
		}
		fmt.Fprintf(&b, "User %q cannot %s resource %q in API group %q", name, a.Verb, resource, a.APIGroup)
		if a.Namespace != "" {
			fmt.Fprintf(&b, " in the namespace %q", a.Namespace)
		} else {
			b.WriteString(" at the cluster scope")
		}
	}
	if reason != "" {
		b.WriteString(": " + reason)
	}
	return b.String()
}

// Forbidden is the status error of a denied request.
func Forbidden(a Attributes, reason string) *apierrors.StatusError {
	if !a.ResourceRequest {
		e := apierrors.NewForbidden(schema.GroupResource{}, "", nil)
		e.ErrStatus.Message = "forbidden: " + Refusal(a, reason)
		e.ErrStatus.Details = nil
		return e
	}
	gr := schema.GroupResource{Group: a.APIGroup, Resource: a.Resource}
	return apierrors.NewForbidden(gr, a.Name, fmt.Errorf("%s", Refusal(a, reason)))
}
