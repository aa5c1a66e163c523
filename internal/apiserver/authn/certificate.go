package authn

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"k8s.io/utils/clock"
	"k8s.io/utils/lru"

	"nau/internal/apiserver/identity"
)

// uidAttribute is the subject attribute that carries a user's UID (Kubernetes docs, "X.509 client certificates").
var uidAttribute = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57683, 2}

// Certificates recognises client certificates: the common name is the user, the organizations are the groups. A verified chain is
// remembered by its hash until it ends.
type Certificates struct {
	roots    *x509.CertPool
	clock    clock.PassiveClock
	verified *lru.Cache // [32]byte → *verifiedChain
}

type verifiedChain struct {
	user       *identity.User
	begin, end time.Time
}

// NewCertificates trusts client certificates of roots; its cache holds at most 4,096 of them.
func NewCertificates(roots *x509.CertPool, c clock.PassiveClock) *Certificates {
	return &Certificates{roots, c, lru.New(4096)}
}

// Authenticate implements Authenticator.
func (c *Certificates) Authenticate(r *http.Request) (*identity.Response, bool, error) {
	v, ok, err := c.verify(r)
	if !ok || err != nil {
		return nil, false, err
	}
	if v.user.Name == "" {
		return nil, false, fmt.Errorf("%w: client certificate has no common name", ErrInvalid)
	}
	return &identity.Response{User: v.user}, true, nil
}

func (c *Certificates) verify(r *http.Request) (*verifiedChain, bool, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil, false, nil
	}
	now := c.clock.Now()
	key := chainKey(r.TLS.PeerCertificates)
	if hit, ok := c.verified.Get(key); ok {
		if v := hit.(*verifiedChain); now.Before(v.end) && !now.Before(v.begin) {
			return v, true, nil
		}
	}
	leaf := r.TLS.PeerCertificates[0]
	opts := x509.VerifyOptions{Roots: c.roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if len(r.TLS.PeerCertificates) > 1 {
		opts.Intermediates = x509.NewCertPool()
		for _, i := range r.TLS.PeerCertificates[1:] {
			opts.Intermediates.AddCert(i)
		}
	}
	chains, err := leaf.Verify(opts)
	if err != nil {
		return nil, false, fmt.Errorf("%w: verify client certificate of %q: %w", ErrInvalid, leaf.Subject.CommonName, err)
	}
	v := &verifiedChain{certificateUser(leaf), leaf.NotBefore, leaf.NotAfter}
	for _, link := range chains[0] {
		if link.NotAfter.Before(v.end) {
			v.end = link.NotAfter
		}
		if link.NotBefore.After(v.begin) {
			v.begin = link.NotBefore
		}
	}
	c.verified.Add(key, v)
	return v, true, nil
}

func chainKey(chain []*x509.Certificate) [32]byte {
	if len(chain) == 1 {
		return sha256.Sum256(chain[0].Raw)
	}
	h := sha256.New()
	for _, c := range chain {
		h.Write(c.Raw)
	}
	return [32]byte(h.Sum(nil))
}

func certificateUser(leaf *x509.Certificate) *identity.User {
	print := sha256.Sum256(leaf.Raw)
	u := &identity.User{
		Name:   leaf.Subject.CommonName,
		Groups: withAuthenticated(slices.Clone(leaf.Subject.Organization)),
		Extra:  map[string][]string{identity.ExtraCredentialID: {"X509SHA256=" + hex.EncodeToString(print[:])}},
	}
	for _, n := range leaf.Subject.Names {
		if uid, ok := n.Value.(string); ok && n.Type.Equal(uidAttribute) {
			u.UID = uid
		}
	}
	return u
}

// FrontProxy believes the user that a trusted proxy names in headers. The proxy proves itself with a client certificate of an authority of its
// own.
type FrontProxy struct {
	// Certificates trusts only the front proxy's authority.
	Certificates *Certificates
	// Names are the common names of proxies; empty for any that the authority signed.
	Names []string
}

// Headers that a front proxy sends.
const (
	RemoteUser        = "X-Remote-User"
	RemoteUID         = "X-Remote-Uid"
	RemoteGroup       = "X-Remote-Group"
	RemoteExtraPrefix = "X-Remote-Extra-"
)

// Authenticate implements Authenticator. A request without X-Remote-User, or from anybody else, is none of its business.
func (f *FrontProxy) Authenticate(r *http.Request) (*identity.Response, bool, error) {
	name := strings.TrimSpace(r.Header.Get(RemoteUser))
	if name == "" || r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		stripRemote(r.Header)
		return nil, false, nil
	}
	v, ok, err := f.Certificates.verify(r)
	if err != nil || !ok {
		// Not the proxy's certificate: it may still be a client's own. The headers are then a stranger's claim, which must not travel on
		// to a backend that believes us.
		stripRemote(r.Header)
		return nil, false, nil
	}
	if len(f.Names) > 0 && !slices.Contains(f.Names, v.user.Name) {
		return nil, false, fmt.Errorf("%w: %q is not a name of a front proxy", ErrInvalid, v.user.Name)
	}
	u := &identity.User{Name: name, UID: r.Header.Get(RemoteUID), Groups: withAuthenticated(slices.Clone(r.Header.Values(RemoteGroup)))}
	if name == identity.Anonymous {
		u.Groups = slices.Clone(r.Header.Values(RemoteGroup))
	}
	u.Extra = extraFrom(r.Header, RemoteExtraPrefix)
	stripRemote(r.Header)
	return &identity.Response{User: u}, true, nil
}

func stripRemote(h http.Header) {
	for name := range h {
		if name == RemoteUser || name == RemoteUID || name == RemoteGroup || strings.HasPrefix(name, RemoteExtraPrefix) {
			delete(h, name)
		}
	}
}

// extraFrom collects headers of a prefix; the rest of the name, lower case and percent-decoded, is the key.
func extraFrom(h http.Header, prefix string) map[string][]string {
	var out map[string][]string
	for name, values := range h {
		rest, ok := strings.CutPrefix(name, prefix)
		if !ok || rest == "" {
			continue
		}
		key := strings.ToLower(rest)
		if plain, err := url.PathUnescape(key); err == nil {
			key = plain
		}
		if out == nil {
			out = map[string][]string{}
		}
		out[key] = append(out[key], values...)
	}
	return out
}
