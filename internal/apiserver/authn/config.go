package authn

import (
	"crypto/x509"

	"k8s.io/utils/clock"

	"nau/internal/apiserver/identity"
)

// Config is everything that authentication needs. Zero fields switch their kind of credential off.
type Config struct {
	// ClientRoots signs client certificates.
	ClientRoots *x509.CertPool
	// FrontProxyRoots signs the certificates of request-header proxies called FrontProxyNames.
	FrontProxyRoots *x509.CertPool
	FrontProxyNames []string

	Issuers   []string // of service account tokens; the first signs
	Audiences []string // of the API server; the issuer if empty
	Keys      KeySource
	Objects   Objects

	StaticTokens map[string]*identity.User
	Anonymous    bool
	Clock        clock.PassiveClock
}

// Authentication is the assembled authenticators of an API server.
type Authentication struct {
	Authenticator
	// Tokens is what TokenReview asks.
	Tokens TokenAuthenticator
	// ServiceAccounts also issues tokens and serves discovery; nil without Keys.
	ServiceAccounts *ServiceAccounts
	Audiences       []string
}

// New assembles the authenticators in the order they are asked: front proxy, client certificate, bearer token, anonymous.
func New(c Config) *Authentication {
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if len(c.Audiences) == 0 && len(c.Issuers) > 0 {
		c.Audiences = c.Issuers[:1]
	}
	a := &Authentication{Audiences: c.Audiences}
	var tokens Tokens
	if len(c.StaticTokens) > 0 {
		tokens = append(tokens, ForAPI(c.Audiences, NewStatic(c.StaticTokens)))
	}
	if c.Objects != nil {
		tokens = append(tokens, ForAPI(c.Audiences, &Bootstrap{c.Objects, c.Clock}))
	}
	if c.Keys != nil && c.Objects != nil {
		a.ServiceAccounts = NewServiceAccounts(ServiceAccounts{Issuers: c.Issuers, Audiences: c.Audiences, Keys: c.Keys, Objects: c.Objects, Clock: c.Clock})
		tokens = append(tokens, a.ServiceAccounts)
	}
	a.Tokens = tokens
	var union Union
	if c.FrontProxyRoots != nil {
		union = append(union, &FrontProxy{NewCertificates(c.FrontProxyRoots, c.Clock), c.FrontProxyNames})
	}
	if c.ClientRoots != nil {
		union = append(union, NewCertificates(c.ClientRoots, c.Clock))
	}
	union = append(union, Bearer{tokens})
	a.Authenticator = union
	if c.Anonymous {
		a.Authenticator = OrAnonymous(union)
	}
	return a
}
