package authn

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"nau/internal/apiserver/identity"
)

// Tokens asks several token authenticators in turn; the first that recognises a token answers. If none does and one of them found it
// wrong, those errors are the answer.
type Tokens []TokenAuthenticator

// AuthenticateToken implements TokenAuthenticator.
func (t Tokens) AuthenticateToken(ctx context.Context, token string, audiences []string) (*identity.Response, bool, error) {
	var errs []error
	for _, a := range t {
		resp, ok, err := a.AuthenticateToken(ctx, token, audiences)
		if ok {
			return resp, true, nil
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	return nil, false, errors.Join(errs...)
}

// Static recognises fixed tokens, for development.
type Static struct {
	users map[[32]byte]*identity.User
}

// NewStatic takes users by token.
func NewStatic(users map[string]*identity.User) *Static {
	s := &Static{map[[32]byte]*identity.User{}}
	for token, u := range users {
		s.users[sha256.Sum256([]byte(token))] = u
	}
	return s
}

// AuthenticateToken implements TokenAuthenticator. Comparing hashes gives away nothing about the tokens by its time.
func (s *Static) AuthenticateToken(_ context.Context, token string, _ []string) (*identity.Response, bool, error) {
	u, ok := s.users[sha256.Sum256([]byte(token))]
	if !ok {
		return nil, false, nil
	}
	return &identity.Response{User: u}, true, nil
}

// ForAPI makes a token authenticator without a sense of audiences answer for the API server's own only.
func ForAPI(audiences []string, a TokenAuthenticator) TokenAuthenticator { return forAPI{audiences, a} }

type forAPI struct {
	audiences []string
	next      TokenAuthenticator
}

func (f forAPI) AuthenticateToken(ctx context.Context, token string, audiences []string) (*identity.Response, bool, error) {
	granted := f.audiences
	if audiences != nil {
		if granted = intersect(audiences, f.audiences); len(granted) == 0 {
			return nil, false, nil
		}
	}
	resp, ok, err := f.next.AuthenticateToken(ctx, token, audiences)
	if !ok || err != nil {
		return nil, false, err
	}
	return &identity.Response{User: resp.User, Audiences: granted}, true, nil
}

// Bearer takes the token out of the Authorization header, or out of a WebSocket's subprotocols, where browsers must put it.
type Bearer struct{ Tokens TokenAuthenticator }

const socketProtocol = "base64url.bearer.authorization.k8s.io."

// Authenticate implements Authenticator. Once it has recognised a token it removes it from the request, so that it cannot travel on to a
// backend.
func (b Bearer) Authenticate(r *http.Request) (*identity.Response, bool, error) {
	token, remove := bearer(r.Header)
	if token == "" {
		return nil, false, nil
	}
	resp, ok, err := b.Tokens.AuthenticateToken(r.Context(), token, nil)
	if err != nil {
		return nil, false, err
	}
	if !ok {
		return nil, false, fmt.Errorf("%w: nobody recognises the bearer token", ErrInvalid)
	}
	remove(r.Header)
	return resp, true, nil
}

func bearer(h http.Header) (token string, remove func(http.Header)) {
	if scheme, rest, ok := strings.Cut(strings.TrimSpace(h.Get("Authorization")), " "); ok && strings.EqualFold(scheme, "bearer") {
		return strings.TrimSpace(rest), func(h http.Header) { h.Del("Authorization") }
	}
	if !strings.EqualFold(h.Get("Upgrade"), "websocket") {
		return "", nil
	}
	const name = "Sec-Websocket-Protocol"
	var others []string
	for _, line := range h.Values(name) {
		for p := range strings.SplitSeq(line, ",") {
			p = strings.TrimSpace(p)
			encoded, ok := strings.CutPrefix(p, socketProtocol)
			if !ok || token != "" {
				others = append(others, p)
				continue
			}
			raw, err := base64.RawURLEncoding.DecodeString(encoded)
			if err != nil || !utf8.Valid(raw) {
				return "", nil
			}
			token = string(raw)
		}
	}
	if token == "" || len(others) == 0 { // another subprotocol must remain to be agreed on (RFC 6455, section 4.2.2)
		return "", nil
	}
	return token, func(h http.Header) { h.Set(name, strings.Join(others, ",")) }
}

// Union asks in turn. An error ends the search only if nobody later recognises the request.
type Union []Authenticator

// Authenticate implements Authenticator, and adds system:authenticated to whom it lets in.
func (u Union) Authenticate(r *http.Request) (*identity.Response, bool, error) {
	var errs []error
	for _, a := range u {
		resp, ok, err := a.Authenticate(r)
		if ok {
			return named(resp), true, nil
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	return nil, false, errors.Join(errs...)
}

func named(resp *identity.Response) *identity.Response {
	u := resp.User
	if slices.Contains(u.Groups, identity.Authenticated) || slices.Contains(u.Groups, identity.Unauthenticated) {
		return resp
	}
	c := *u
	c.Groups = withAuthenticated(u.Groups)
	return &identity.Response{User: &c, Audiences: resp.Audiences}
}

var anonymous = &identity.User{Name: identity.Anonymous, Groups: []string{identity.Unauthenticated}}

// OrAnonymous lets a request without any credential in as system:anonymous; a wrong credential stays an error.
func OrAnonymous(a Authenticator) Authenticator {
	return Func(func(r *http.Request) (*identity.Response, bool, error) {
		resp, ok, err := a.Authenticate(r)
		if ok || err != nil {
			return resp, ok, err
		}
		return &identity.Response{User: anonymous}, true, nil
	})
}
