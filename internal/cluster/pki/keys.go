package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"
)

// KeySet is the keys of service account tokens: one signs, all verify, so that tokens outlive a rotation. It is safe for
// concurrent use.
type KeySet struct {
	path string

	mu   sync.RWMutex
	keys []crypto.Signer // newest first, never empty
}

func openKeySet(path string) (*KeySet, error) {
	s := &KeySet{path: path}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		_, err = s.Rotate(1)
		return s, err
	}
	if err != nil {
		return nil, fmt.Errorf("open service account keys: %w", err)
	}
	if s.keys, err = parseKeys(text); err != nil {
		return nil, fmt.Errorf("open service account keys %s: %w", path, err)
	}
	return s, nil
}

// Signing is the key that signs new tokens.
func (s *KeySet) Signing() crypto.Signer {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.keys[0]
}

// Verifying are the public keys of all tokens that are still good, the signing key's first.
func (s *KeySet) Verifying() []crypto.PublicKey {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]crypto.PublicKey, len(s.keys))
	for i, k := range s.keys {
		out[i] = k.Public()
	}
	return out
}

// Rotate makes a new signing key and keeps the newest keep-1 of the others for verification. It returns once the new set is on disk.
func (s *KeySet) Rotate(keep int) (crypto.Signer, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := append([]crypto.Signer{key}, s.keys...)
	keys = keys[:min(len(keys), max(keep, 1))]
	var text []byte
	for _, k := range keys {
		b, err := encodeKey(k)
		if err != nil {
			return nil, err
		}
		text = append(text, b...)
	}
	if err := writeFile(s.path, text); err != nil {
		return nil, fmt.Errorf("write service account keys: %w", err)
	}
	s.keys = keys
	return key, nil
}

// NamedKey is a key for encryption at rest. Its name is part of every value that it sealed.
type NamedKey struct {
	Name   string
	Secret [32]byte
}

func openNamedKeys(path string, now time.Time) ([]NamedKey, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		k := NamedKey{Name: "key-" + now.UTC().Format("20060102")}
		if _, err := rand.Read(k.Secret[:]); err != nil {
			return nil, fmt.Errorf("draw encryption key: %w", err)
		}
		line := k.Name + " " + base64.StdEncoding.EncodeToString(k.Secret[:]) + "\n"
		return []NamedKey{k}, writeFile(path, []byte(line))
	}
	if err != nil {
		return nil, fmt.Errorf("open encryption keys: %w", err)
	}
	var keys []NamedKey
	for n, line := range strings.Split(string(text), "\n") {
		f := strings.Fields(line)
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		if len(f) != 2 || strings.Contains(f[0], ":") {
			return nil, fmt.Errorf("read %s line %d: want NAME BASE64, the name without a colon", path, n+1)
		}
		raw, err := base64.StdEncoding.DecodeString(f[1])
		if err != nil || len(raw) != 32 {
			return nil, fmt.Errorf("read %s line %d: want the base64 form of 32 bytes", path, n+1)
		}
		keys = append(keys, NamedKey{Name: f[0], Secret: [32]byte(raw)})
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("read %s: no key; Secrets on disk cannot be read without it, restore it from a backup", path)
	}
	return keys, nil
}

func newKey() (crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	return key, nil
}

func readOrMakeKey(path string) (crypto.Signer, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key, err := newKey()
		if err != nil {
			return nil, err
		}
		if text, err = encodeKey(key); err != nil {
			return nil, err
		}
		return key, writeFile(path, text)
	}
	if err != nil {
		return nil, fmt.Errorf("open key: %w", err)
	}
	keys, err := parseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("open key %s: %w", path, err)
	}
	return keys[0], nil
}

func encodeKey(key crypto.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// parseKeys reads private keys in PKCS#8, SEC 1 or PKCS#1 form, so that keys of an upstream cluster can be brought along.
func parseKeys(text []byte) ([]crypto.Signer, error) {
	var out []crypto.Signer
	for rest := bytes.TrimSpace(text); len(rest) > 0; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		var key any
		var err error
		switch b.Type {
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(b.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(b.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(b.Bytes)
		default:
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("parse %s: %w", strings.ToLower(b.Type), err)
		}
		signer, ok := key.(crypto.Signer)
		if !ok {
			return nil, fmt.Errorf("parse %s: %T cannot sign", strings.ToLower(b.Type), key)
		}
		out = append(out, signer)
	}
	if len(out) == 0 {
		return nil, errors.New("parse keys: no private key in PEM text")
	}
	return out, nil
}
