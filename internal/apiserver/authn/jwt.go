package authn

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/golang-jwt/jwt/v5"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// maxToken bounds what is hashed and parsed for a stranger.
const maxToken = 16 << 10

// KeySource holds the keys of service account tokens. It may change while running.
type KeySource interface {
	Signing() crypto.Signer
	// Verifying are the public keys of all tokens still good.
	Verifying() []crypto.PublicKey
}

// Claims are those of a service account token: registered ones (RFC 7519), Kubernetes' own under "kubernetes.io", and the flat ones of
// tokens that live in Secrets.
type Claims struct {
	jwt.RegisteredClaims
	Kubernetes *Bound `json:"kubernetes.io,omitempty"`

	LegacyNamespace string    `json:"kubernetes.io/serviceaccount/namespace,omitempty"`
	LegacySecret    string    `json:"kubernetes.io/serviceaccount/secret.name,omitempty"`
	LegacyName      string    `json:"kubernetes.io/serviceaccount/service-account.name,omitempty"`
	LegacyUID       types.UID `json:"kubernetes.io/serviceaccount/service-account.uid,omitempty"`
}

// Bound is what a token speaks for and what it dies with.
type Bound struct {
	Namespace      string           `json:"namespace,omitempty"`
	Node           *Ref             `json:"node,omitempty"`
	Pod            *Ref             `json:"pod,omitempty"`
	Secret         *Ref             `json:"secret,omitempty"`
	ServiceAccount Ref              `json:"serviceaccount"`
	WarnAfter      *jwt.NumericDate `json:"warnafter,omitempty"`
}

// Ref names one object.
type Ref struct {
	Name string    `json:"name"`
	UID  types.UID `json:"uid,omitempty"`
}

// KeyID names a public key as upstream does: the unpadded URL-safe base64 of the SHA-256 of its DER form.
func KeyID(key crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", fmt.Errorf("name public key: %w", err)
	}
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}

// method is the one algorithm that a key is used with; a token cannot choose another (RFC 8725, section 3.1).
func method(key crypto.PublicKey) (jwt.SigningMethod, error) {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return jwt.SigningMethodES256, nil
		case elliptic.P384():
			return jwt.SigningMethodES384, nil
		case elliptic.P521():
			return jwt.SigningMethodES512, nil
		}
	case *rsa.PublicKey:
		return jwt.SigningMethodRS256, nil
	}
	return nil, fmt.Errorf("choose algorithm for %T: only RSA and ECDSA keys sign tokens", key)
}

func sign(keys KeySource, c *Claims) (string, error) {
	key := keys.Signing()
	m, err := method(key.Public())
	if err != nil {
		return "", err
	}
	id, err := KeyID(key.Public())
	if err != nil {
		return "", err
	}
	t := jwt.NewWithClaims(m, c)
	t.Header = map[string]any{"alg": m.Alg(), "kid": id}
	text, err := t.SignedString(key)
	if err != nil {
		return "", fmt.Errorf("sign token of %s: %w", c.Subject, err)
	}
	return text, nil
}

// peekIssuer reads the issuer of what looks like a token without believing it.
func peekIssuer(text string) (issuer string, ok bool) {
	var c struct{ jwt.RegisteredClaims }
	if _, _, err := jwt.NewParser().ParseUnverified(text, &c); err != nil {
		return "", false
	}
	return c.Issuer, true
}

var parser = jwt.NewParser(
	jwt.WithValidMethods([]string{"ES256", "ES384", "ES512", "RS256"}),
	jwt.WithoutClaimsValidation(), // the caller has the clock
	jwt.WithStrictDecoding(),
)

var errUnknownKey = errors.New("signed by a key that is not among this cluster's")

// verify checks a token's signature and nothing else.
func verify(keys KeySource, text string) (*Claims, error) {
	c := &Claims{}
	_, err := parser.ParseWithClaims(text, c, func(t *jwt.Token) (any, error) {
		if _, critical := t.Header["crit"]; critical {
			return nil, errors.New("token has critical extensions that nobody understands")
		}
		want, _ := t.Header["kid"].(string)
		set := jwt.VerificationKeySet{}
		for _, k := range keys.Verifying() {
			m, err := method(k)
			if err != nil || m.Alg() != t.Method.Alg() {
				continue
			}
			if id, err := KeyID(k); err != nil || (want != "" && id != want) {
				continue
			}
			set.Keys = append(set.Keys, k)
		}
		if len(set.Keys) == 0 {
			return nil, errUnknownKey
		}
		return set, nil
	})
	if err != nil {
		return nil, fmt.Errorf("verify token: %w", err)
	}
	return c, nil
}

// boundTo is the secret type and annotation vocabulary of tokens in Secrets.
const (
	legacyIssuer       = "kubernetes/serviceaccount"
	legacyInvalidSince = "kubernetes.io/legacy-token-invalid-since"
	tokenKey           = corev1.ServiceAccountTokenKey
)
