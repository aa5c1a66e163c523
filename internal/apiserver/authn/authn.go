// Package authn finds out who sent a request: client certificates, service account tokens, bootstrap tokens, static tokens,
// a front proxy's headers, or nobody.
//
// It answers "who", never "may they" (package authz). Only apiserver and cluster import it.
package authn

import (
	"context"
	"errors"
	"net/http"

	"nau/internal/apiserver/identity"
)

// Authenticator looks at one kind of credential in a request.
//
// ok is false without an error when the request carries no credential of that kind; an error says that there was one and that it
// is not valid.
type Authenticator interface {
	Authenticate(r *http.Request) (response *identity.Response, ok bool, err error)
}

// Func is a function as an Authenticator.
type Func func(r *http.Request) (*identity.Response, bool, error)

// Authenticate calls f.
func (f Func) Authenticate(r *http.Request) (*identity.Response, bool, error) { return f(r) }

// TokenAuthenticator recognises bearer tokens of one kind, with the same meaning of ok and err as Authenticator. Audiences are those
// that the caller wants the token for; nil stands for the API server's own.
type TokenAuthenticator interface {
	AuthenticateToken(ctx context.Context, token string, audiences []string) (response *identity.Response, ok bool, err error)
}

// ErrInvalid is the kind of every rejected credential: 401 at the edge.
var ErrInvalid = errors.New("invalid credentials")
