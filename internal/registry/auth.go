package registry

import (
	"crypto"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Access is one thing a request wants to do: type "repository" or "registry", its name, one action.
type Access struct{ Type, Name, Action string }

// Auth decides about requests. Allow answers nil, or an error whose text tells why not; Challenge is the WWW-Authenticate header that a client
// without sufficient credentials gets.
type Auth interface {
	Allow(r *http.Request, want []Access) error
	Challenge(r *http.Request, want []Access) string
}

// ErrForbidden: the credentials are good, but not for this. Everything else that Allow answers asks for credentials.
var ErrForbidden = errors.New("access denied")

// allow turns a refusal into the spec's answers. All reasons are one to the client.
func (g *Registry) allow(w http.ResponseWriter, r *http.Request, want []Access) error {
	if g.cfg.Auth == nil {
		return nil
	}
	err := g.cfg.Auth.Allow(r, want)
	if err == nil {
		return nil
	}
	if errors.Is(err, ErrForbidden) {
		return fault(http.StatusForbidden, "DENIED", "requested access to the resource is denied", nil)
	}
	w.Header().Set("WWW-Authenticate", g.cfg.Auth.Challenge(r, want))
	return fault(http.StatusUnauthorized, "UNAUTHORIZED", "authentication required", nil)
}

// BasicAuth asks for a user name and password with every request.
type BasicAuth struct {
	Realm string
	// Check answers what a user may do; false = unknown user or wrong password. "" as user is an anonymous request.
	Check func(user, password string) (may func(Access) bool, ok bool)
}

func (b *BasicAuth) Allow(r *http.Request, want []Access) error {
	user, password, _ := r.BasicAuth()
	may, ok := b.Check(user, password)
	if !ok {
		return errors.New("wrong credentials")
	}
	for _, a := range want {
		if !may(a) {
			if user == "" {
				return errors.New("no credentials")
			}
			return ErrForbidden
		}
	}
	return nil
}

func (b *BasicAuth) Challenge(*http.Request, []Access) string {
	return fmt.Sprintf("Basic realm=%q", b.Realm)
}

// TokenAuth is distribution's token authentication: requests bring a signed bearer token, which a token server gives out for a user name and
// password. With Check set, this registry is its own token server at /token.
type TokenAuth struct {
	Realm   string // URL of the token server; "" = /token of the host asked
	Service string
	Issuer  string
	Method  jwt.SigningMethod // jwt.SigningMethodEdDSA, …ES256, …RS256
	Public  crypto.PublicKey
	Private crypto.PrivateKey // nil = tokens come from elsewhere
	Life    time.Duration     // of tokens given out; 0 = five minutes
	Check   func(user, password string) (may func(Access) bool, ok bool)
	Now     func() time.Time
}

// claims are those of the specification ("Docker Registry v2 Bearer token specification", "Token Authentication Implementation").
type claims struct {
	jwt.RegisteredClaims
	Access []grant `json:"access"`
}

type grant struct {
	Type    string   `json:"type"`
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

func (t *TokenAuth) now() time.Time {
	if t.Now != nil {
		return t.Now()
	}
	return time.Now()
}

func (t *TokenAuth) Allow(r *http.Request, want []Access) error {
	c, err := t.read(r)
	if err != nil {
		return err
	}
	for _, a := range want {
		if !c.may(a) {
			return fmt.Errorf("token is not for %s of %s", a.Action, a.Name)
		}
	}
	return nil
}

// read gives what the request's token says, when it is good.
func (t *TokenAuth) read(r *http.Request) (*claims, error) {
	raw, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return nil, errors.New("no token")
	}
	var c claims
	_, err := jwt.ParseWithClaims(raw, &c, func(*jwt.Token) (any, error) { return t.Public, nil },
		jwt.WithValidMethods([]string{t.Method.Alg()}), jwt.WithIssuer(t.Issuer), jwt.WithAudience(t.Service), jwt.WithExpirationRequired(), jwt.WithTimeFunc(t.now))
	if err != nil {
		return nil, fmt.Errorf("read token: %w", err)
	}
	return &c, nil
}

// asked tells whether the client wanted this access when it got its token: a token of ours lists what was refused too, without actions.
func (t *TokenAuth) asked(r *http.Request, a Access) bool {
	c, err := t.read(r)
	return err == nil && slices.ContainsFunc(c.Access, func(g grant) bool { return g.Type == a.Type && g.Name == a.Name })
}

func (c *claims) may(a Access) bool {
	for _, g := range c.Access {
		if g.Type != a.Type || g.Name != a.Name {
			continue
		}
		for _, x := range g.Actions {
			if x == a.Action || x == "*" {
				return true
			}
		}
	}
	return false
}

func (t *TokenAuth) Challenge(r *http.Request, want []Access) string {
	realm := t.Realm
	if realm == "" {
		scheme := "http"
		if r.TLS != nil {
			scheme = "https"
		}
		realm = scheme + "://" + r.Host + "/token"
	}
	s := fmt.Sprintf("Bearer realm=%q,service=%q", realm, t.Service)
	var scopes []string
	for _, a := range want {
		action := a.Action
		if action == "push" { // whoever pushes reads back what is there
			action = "pull,push"
		}
		scopes = append(scopes, a.Type+":"+a.Name+":"+action)
	}
	if scopes != nil {
		s += fmt.Sprintf(",scope=%q", strings.Join(scopes, " "))
	}
	return s
}

// issue serves the token endpoint, both as GET with basic credentials and as OAuth2 password grant.
func (t *TokenAuth) issue(w http.ResponseWriter, r *http.Request) error {
	if t.Check == nil || t.Private == nil {
		return errNotFound
	}
	user, password, _ := r.BasicAuth()
	service, scopes := "", []string(nil)
	if r.Method == http.MethodPost {
		r.Body = io.NopCloser(io.LimitReader(r.Body, 64<<10))
		if err := r.ParseForm(); err != nil || r.PostForm.Get("grant_type") != "password" {
			return fault(http.StatusBadRequest, "UNSUPPORTED", "unsupported grant", nil)
		}
		user, password = r.PostForm.Get("username"), r.PostForm.Get("password")
		service, scopes = r.PostForm.Get("service"), strings.Fields(r.PostForm.Get("scope"))
	} else {
		q := r.URL.Query()
		service = q.Get("service")
		for _, s := range q["scope"] {
			scopes = append(scopes, strings.Fields(s)...)
		}
	}
	may, ok := t.Check(user, password)
	if !ok || service != t.Service {
		return fault(http.StatusUnauthorized, "UNAUTHORIZED", "wrong credentials", nil)
	}
	life := t.Life
	if life == 0 {
		life = 5 * time.Minute
	}
	now := t.now()
	c := claims{RegisteredClaims: jwt.RegisteredClaims{
		Issuer: t.Issuer, Subject: user, Audience: jwt.ClaimStrings{t.Service}, ID: rand.Text(),
		IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now.Add(-10 * time.Second)), ExpiresAt: jwt.NewNumericDate(now.Add(life)),
	}, Access: grants(scopes, may)}
	signed, err := jwt.NewWithClaims(t.Method, c).SignedString(t.Private)
	if err != nil {
		return fmt.Errorf("sign token: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	return ignoreGone(json.NewEncoder(w).Encode(map[string]any{
		"token": signed, "access_token": signed, "expires_in": int(life.Seconds()), "issued_at": now.UTC().Format(time.RFC3339),
	}))
}

// grants cuts what was asked for down to what is allowed. A scope is "type:name:action,action"; the name may have colons (a port).
func grants(scopes []string, may func(Access) bool) []grant {
	out := []grant{}
	for _, s := range scopes {
		typ, rest, ok := strings.Cut(s, ":")
		i := strings.LastIndexByte(rest, ':')
		if !ok || i < 0 {
			continue
		}
		g := grant{Type: typ, Name: rest[:i], Actions: []string{}}
		for a := range strings.SplitSeq(rest[i+1:], ",") {
			if may(Access{g.Type, g.Name, a}) {
				g.Actions = append(g.Actions, a)
			}
		}
		out = append(out, g)
	}
	return out
}
