// Package identity says who speaks: the user behind a request, the names that every cluster reserves, and the way a
// user travels in a context.
//
// It holds no policy and does no I/O. Everything under internal/apiserver and internal/cluster may import it; client and the
// components above it may not (they hand a context decorator around instead).
package identity

import (
	"context"
	"slices"
	"strings"
)

// User is an authenticated caller. It is shared between requests once it is cached: nobody changes it after it was made.
type User struct {
	Name   string
	UID    string
	Groups []string
	// Extra holds further facts by lower-case key, as UserInfo.extra of authentication.k8s.io shows them.
	Extra map[string][]string
}

// Response is what authentication found: the user, and the audiences of the credential that the caller asked about.
type Response struct {
	User *User
	// Audiences is empty unless the credential is bound to audiences.
	Audiences []string
}

// Users and groups with a meaning of their own.
const (
	Anonymous = "system:anonymous"
	// Masters is the group that may do everything, whatever roles exist.
	Masters         = "system:masters"
	Authenticated   = "system:authenticated"
	Unauthenticated = "system:unauthenticated"
	Nodes           = "system:nodes"
	NodePrefix      = "system:node:"
	Monitoring      = "system:monitoring"
	KubeProxy       = "system:kube-proxy"
	Scheduler       = "system:kube-scheduler"
	Controllers     = "system:kube-controller-manager"
	APIServer       = "system:apiserver"

	BootstrapUserPrefix   = "system:bootstrap:"
	BootstrapGroup        = "system:bootstrappers"
	BootstrapGroupPrefix  = "system:bootstrappers:"
	ServiceAccountPrefix  = "system:serviceaccount:"
	ServiceAccountsGroup  = "system:serviceaccounts"
	ServiceAccountsPrefix = "system:serviceaccounts:"
)

// Keys of Extra that ServiceAccount tokens and client certificates fill (KEP-4193, KEP-4633).
const (
	ExtraPodName      = "authentication.kubernetes.io/pod-name"
	ExtraPodUID       = "authentication.kubernetes.io/pod-uid"
	ExtraNodeName     = "authentication.kubernetes.io/node-name"
	ExtraNodeUID      = "authentication.kubernetes.io/node-uid"
	ExtraCredentialID = "authentication.kubernetes.io/credential-id"
)

// In tells whether the user is a member of group.
func (u *User) In(group string) bool {
	return u != nil && slices.Contains(u.Groups, group)
}

// Tenant is the name under which the user shares the cluster with others: all service accounts of a namespace are one. It is ""
// for the system's own: masters, nodes, the components, and the service accounts of kube-system.
func (u *User) Tenant() string {
	if u == nil || u.In(Masters) || u.In(Nodes) {
		return ""
	}
	switch u.Name {
	case KubeProxy, Scheduler, Controllers, APIServer:
		return ""
	}
	if account, ok := strings.CutPrefix(u.Name, ServiceAccountPrefix); ok {
		namespace, _, _ := strings.Cut(account, ":")
		if namespace == "kube-system" {
			return ""
		}
		return ServiceAccountsPrefix + namespace
	}
	return u.Name
}

// Clone is a deep copy that the caller may change.
func (u *User) Clone() *User {
	c := &User{Name: u.Name, UID: u.UID, Groups: slices.Clone(u.Groups)}
	if u.Extra != nil {
		c.Extra = make(map[string][]string, len(u.Extra))
		for k, v := range u.Extra {
			c.Extra[k] = slices.Clone(v)
		}
	}
	return c
}

// ServiceAccount makes the user name of a service account.
func ServiceAccount(namespace, name string) string {
	return ServiceAccountPrefix + namespace + ":" + name
}

// ServiceAccountGroups are the groups that every service account of a namespace belongs to.
func ServiceAccountGroups(namespace string) []string {
	return []string{ServiceAccountsGroup, ServiceAccountsPrefix + namespace}
}

// SplitServiceAccount takes a service account's user name apart.
func SplitServiceAccount(user string) (namespace, name string, ok bool) {
	rest, ok := strings.CutPrefix(user, ServiceAccountPrefix)
	if !ok {
		return "", "", false
	}
	namespace, name, ok = strings.Cut(rest, ":")
	if !ok || namespace == "" || name == "" || strings.Contains(name, ":") {
		return "", "", false
	}
	return namespace, name, true
}

// NodeName is the node that the user speaks for: named system:node:NAME and a member of system:nodes.
func (u *User) NodeName() (string, bool) {
	if u == nil || !strings.HasPrefix(u.Name, NodePrefix) || !u.In(Nodes) {
		return "", false
	}
	name := u.Name[len(NodePrefix):]
	return name, name != ""
}

type userKey struct{}

// WithUser returns a context that carries the user.
func WithUser(ctx context.Context, u *User) context.Context {
	return context.WithValue(ctx, userKey{}, u)
}

// UserFrom is the user that WithUser put there.
func UserFrom(ctx context.Context) (*User, bool) {
	u, ok := ctx.Value(userKey{}).(*User)
	return u, ok && u != nil
}
