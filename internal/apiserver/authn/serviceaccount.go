package authn

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"k8s.io/utils/lru"

	"nau/internal/apiserver/identity"
)

// deletionLeeway keeps a token alive for a moment after the object it is bound to was asked to go, so that a terminating pod can say
// goodbye.
const deletionLeeway = time.Minute

// clockLeeway forgives clocks of other machines that run ahead.
const clockLeeway = time.Minute

// ServiceAccounts recognises service account tokens. A token's signature is verified once and remembered by the token's hash; what the token
// is bound to is looked up at every use, so that it dies with its pod, secret, node or account at once.
type ServiceAccounts struct {
	Issuers   []string // the first also signs; all are accepted
	Audiences []string // the API server's own
	Keys      KeySource
	Objects   Objects
	Clock     clock.PassiveClock

	verified *lru.Cache // [32]byte → *verifiedToken
}

type verifiedToken struct {
	claims *Claims
	user   *identity.User
}

// NewServiceAccounts makes the authenticator; its cache holds at most 4,096 tokens.
func NewServiceAccounts(s ServiceAccounts) *ServiceAccounts {
	s.verified = lru.New(4096)
	return &s
}

// AuthenticateToken implements TokenAuthenticator.
func (s *ServiceAccounts) AuthenticateToken(ctx context.Context, token string, audiences []string) (*identity.Response, bool, error) {
	if len(token) > maxToken {
		return nil, false, nil
	}
	key := sha256.Sum256([]byte(token))
	var v *verifiedToken
	if hit, ok := s.verified.Get(key); ok {
		v = hit.(*verifiedToken)
	} else {
		issuer, ok := peekIssuer(token)
		if !ok || (issuer != legacyIssuer && !slices.Contains(s.Issuers, issuer)) {
			return nil, false, nil // somebody else's token
		}
		claims, err := verify(s.Keys, token)
		if err != nil {
			return nil, false, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		user, err := claims.user()
		if err != nil {
			return nil, false, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		v = &verifiedToken{claims, user}
		s.verified.Add(key, v)
	}
	granted, err := s.check(ctx, v.claims, token, audiences)
	if err != nil {
		return nil, false, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return &identity.Response{User: v.user, Audiences: granted}, true, nil
}

// Forget drops remembered signatures: after a rotation that dropped keys.
func (s *ServiceAccounts) Forget() { s.verified.Clear() }

// user is the identity that verified claims speak for.
func (c *Claims) user() (*identity.User, error) {
	namespace, account, legacy := c.account()
	if namespace == "" || account.Name == "" || account.UID == "" {
		return nil, fmt.Errorf("read claims: no service account in the token")
	}
	name := identity.ServiceAccount(namespace, account.Name)
	if c.Subject != name {
		return nil, fmt.Errorf("read claims: subject %q is not the bound account %q", c.Subject, name)
	}
	if !legacy && c.ExpiresAt == nil {
		return nil, fmt.Errorf("read claims: token of %s has no end", name)
	}
	u := &identity.User{Name: name, UID: string(account.UID), Groups: withAuthenticated(identity.ServiceAccountGroups(namespace))}
	if legacy {
		return u, nil
	}
	u.Extra = map[string][]string{}
	if c.ID != "" {
		u.Extra[identity.ExtraCredentialID] = []string{"JTI=" + c.ID}
	}
	if p := c.Kubernetes.Pod; p != nil {
		u.Extra[identity.ExtraPodName] = []string{p.Name}
		u.Extra[identity.ExtraPodUID] = []string{string(p.UID)}
	}
	if n := c.Kubernetes.Node; n != nil {
		u.Extra[identity.ExtraNodeName] = []string{n.Name}
		if n.UID != "" {
			u.Extra[identity.ExtraNodeUID] = []string{string(n.UID)}
		}
	}
	return u, nil
}

func (c *Claims) account() (namespace string, account Ref, legacy bool) {
	if c.Issuer == legacyIssuer {
		return c.LegacyNamespace, Ref{c.LegacyName, c.LegacyUID}, true
	}
	if c.Kubernetes == nil {
		return "", Ref{}, false
	}
	return c.Kubernetes.Namespace, c.Kubernetes.ServiceAccount, false
}

// check judges verified claims against the clock, the audiences and the cluster, and returns the audiences granted.
func (s *ServiceAccounts) check(ctx context.Context, c *Claims, token string, audiences []string) ([]string, error) {
	if audiences == nil {
		audiences = s.Audiences
	}
	namespace, account, legacy := c.account()
	granted := intersect(audiences, c.Audience)
	if legacy {
		granted = intersect(audiences, s.Audiences)
	}
	if len(granted) == 0 {
		return nil, fmt.Errorf("check token of %s: it is for %q, not for %q", c.Subject, []string(c.Audience), audiences)
	}
	now := s.Clock.Now()
	if c.ExpiresAt != nil && !now.Before(c.ExpiresAt.Time) {
		return nil, fmt.Errorf("check token of %s: it has expired", c.Subject)
	}
	if c.NotBefore != nil && now.Add(clockLeeway).Before(c.NotBefore.Time) {
		return nil, fmt.Errorf("check token of %s: it is not valid yet", c.Subject)
	}
	sa, err := s.Objects.ServiceAccount(ctx, namespace, account.Name, account.UID)
	if err != nil {
		return nil, fmt.Errorf("check token of %s: %w", c.Subject, err)
	}
	if err := alive("service account", sa, account, now); err != nil {
		return nil, err
	}
	if legacy {
		return granted, s.checkLegacy(ctx, c, token, now)
	}
	return granted, s.checkBound(ctx, c.Kubernetes, now)
}

// checkBound: a token bound to a pod or a secret lives as long as that does; a node named beside a pod is information, alone it is a bond.
func (s *ServiceAccounts) checkBound(ctx context.Context, b *Bound, now time.Time) error {
	if r := b.Secret; r != nil {
		secret, err := s.Objects.Secret(ctx, b.Namespace, r.Name, r.UID)
		if err != nil {
			return fmt.Errorf("check token's secret: %w", err)
		}
		if err := alive("secret", secret, *r, now); err != nil {
			return err
		}
	}
	if r := b.Pod; r != nil {
		pod, err := s.Objects.Pod(ctx, b.Namespace, r.Name, r.UID)
		if err != nil {
			return fmt.Errorf("check token's pod: %w", err)
		}
		if err := alive("pod", pod, *r, now); err != nil {
			return err
		}
		if pod.Spec.ServiceAccountName != b.ServiceAccount.Name {
			return fmt.Errorf("check token's pod: %s/%s runs as another service account", b.Namespace, r.Name)
		}
	}
	if r := b.Node; r != nil && b.Pod == nil {
		node, err := s.Objects.Node(ctx, r.Name, r.UID)
		if err != nil {
			return fmt.Errorf("check token's node: %w", err)
		}
		return alive("node", node, *r, now)
	}
	return nil
}

func (s *ServiceAccounts) checkLegacy(ctx context.Context, c *Claims, token string, now time.Time) error {
	secret, err := s.Objects.Secret(ctx, c.LegacyNamespace, c.LegacySecret, "")
	if err != nil {
		return fmt.Errorf("check token's secret: %w", err)
	}
	if secret.DeletionTimestamp != nil {
		return fmt.Errorf("check token's secret: %s/%s is being deleted", c.LegacyNamespace, c.LegacySecret)
	}
	if subtle.ConstantTimeCompare(secret.Data[tokenKey], []byte(token)) != 1 {
		return fmt.Errorf("check token's secret: %s/%s holds another token", c.LegacyNamespace, c.LegacySecret)
	}
	if since := secret.Labels[legacyInvalidSince]; since != "" {
		return fmt.Errorf("check token's secret: %s/%s is invalid since %s", c.LegacyNamespace, c.LegacySecret, since)
	}
	return nil
}

func alive(kind string, obj metav1.Object, want Ref, now time.Time) error {
	if obj.GetUID() != want.UID {
		return fmt.Errorf("check token's %s: %s was replaced by another of the same name", kind, want.Name)
	}
	if d := obj.GetDeletionTimestamp(); d != nil && d.Time.Add(deletionLeeway).Before(now) {
		return fmt.Errorf("check token's %s: %s has been deleted", kind, want.Name)
	}
	return nil
}

func intersect(want, have []string) []string {
	var out []string
	for _, w := range want {
		if slices.Contains(have, w) {
			out = append(out, w)
		}
	}
	return out
}

func withAuthenticated(groups []string) []string {
	if slices.Contains(groups, identity.Authenticated) || slices.Contains(groups, identity.Unauthenticated) {
		return groups
	}
	return append(slices.Clip(groups), identity.Authenticated)
}
