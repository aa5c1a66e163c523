package authn

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"slices"
)

// Paths of OpenID discovery for service account tokens (OpenID Connect Discovery 1.0; KEP-1393).
const (
	DiscoveryPath = "/.well-known/openid-configuration"
	KeysPath      = "/openid/v1/jwks"
)

type discovery struct {
	Issuer     string   `json:"issuer"`
	KeysURI    string   `json:"jwks_uri"`
	Responses  []string `json:"response_types_supported"`
	Subjects   []string `json:"subject_types_supported"`
	Algorithms []string `json:"id_token_signing_alg_values_supported"`
}

type jsonWebKey struct {
	Use       string `json:"use"`
	Type      string `json:"kty"`
	ID        string `json:"kid"`
	Curve     string `json:"crv,omitempty"`
	Algorithm string `json:"alg"`
	X         string `json:"x,omitempty"`
	Y         string `json:"y,omitempty"`
	N         string `json:"n,omitempty"`
	E         string `json:"e,omitempty"`
}

// ServeDiscovery answers DiscoveryPath. KeysURI is the absolute address of KeysPath.
func (s *ServiceAccounts) ServeDiscovery(keysURI string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		d := discovery{Issuer: s.Issuers[0], KeysURI: keysURI, Responses: []string{"id_token"}, Subjects: []string{"public"}}
		for _, k := range s.Keys.Verifying() {
			if m, err := method(k); err == nil && !slices.Contains(d.Algorithms, m.Alg()) {
				d.Algorithms = append(d.Algorithms, m.Alg())
			}
		}
		answer(w, "application/json", d)
	}
}

// ServeKeys answers KeysPath with a JSON Web Key Set (RFC 7517).
func (s *ServiceAccounts) ServeKeys(w http.ResponseWriter, _ *http.Request) {
	set := struct {
		Keys []jsonWebKey `json:"keys"`
	}{Keys: []jsonWebKey{}}
	for _, k := range s.Keys.Verifying() {
		jwk, err := webKey(k)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		set.Keys = append(set.Keys, jwk)
	}
	answer(w, "application/jwk-set+json", set)
}

func webKey(key any) (jsonWebKey, error) {
	m, err := method(key)
	if err != nil {
		return jsonWebKey{}, err
	}
	id, err := KeyID(key)
	if err != nil {
		return jsonWebKey{}, err
	}
	out := jsonWebKey{Use: "sig", ID: id, Algorithm: m.Alg()}
	enc := base64.RawURLEncoding.EncodeToString
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		point, err := k.Bytes() // 4, then both coordinates at full width
		if err != nil {
			return jsonWebKey{}, fmt.Errorf("encode public key: %w", err)
		}
		half := (len(point) - 1) / 2
		out.Type, out.Curve = "EC", k.Params().Name
		out.X, out.Y = enc(point[1:1+half]), enc(point[1+half:])
	case *rsa.PublicKey:
		out.Type, out.N, out.E = "RSA", enc(k.N.Bytes()), enc(big.NewInt(int64(k.E)).Bytes())
	}
	return out, nil
}

func answer(w http.ResponseWriter, contentType string, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "public, max-age=3600")
	w.Write(text)
}
