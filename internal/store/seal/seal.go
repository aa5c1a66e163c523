// Package seal encrypts values at rest: it implements the store's Transformer
// with AES-GCM, in upstream's layout, so that data and keys can be carried over.
//
// A sealed value is
//
//	k8s:enc:aesgcm:v1:KEYNAME: ‖ nonce (12 bytes) ‖ ciphertext ‖ tag
//
// with the full etcd key as additional authenticated data, so that a value
// moved to another key does not open. Values without a "k8s:enc:" prefix are
// plain and open as they are, marked stale. The first key of a list seals; all
// of them open. To rotate: put a new key first, restart, rewrite what is stale,
// drop the old key. (upstream: "Encrypting Confidential Data at Rest")
//
// It may be imported by whoever assembles a store.
package seal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const (
	anyPrefix = "k8s:enc:"
	prefix    = "k8s:enc:aesgcm:v1:"
)

// ErrUnknownKey: the value was sealed with a key, or in a manner, not at hand.
var ErrUnknownKey = errors.New("sealed with an unknown key")

// Key is a named AES key of 16, 24 or 32 bytes.
type Key struct {
	Name   string `json:"name"`
	Secret []byte `json:"secret"` // base64 in a file
}

// Keys seals with the first key and opens with each.
type Keys struct {
	keys []sealer
}

type sealer struct {
	prefix []byte
	aead   cipher.AEAD
}

// New makes a transformer of a list of keys, newest first.
func New(keys ...Key) (*Keys, error) {
	if len(keys) == 0 {
		return nil, errors.New("make sealing keys: none given")
	}
	k := &Keys{}
	names := map[string]bool{}
	for _, key := range keys {
		if key.Name == "" || strings.ContainsAny(key.Name, ":\x00") || names[key.Name] {
			return nil, fmt.Errorf("make sealing keys: bad or repeated name %q", key.Name)
		}
		names[key.Name] = true
		block, err := aes.NewCipher(key.Secret)
		if err != nil {
			return nil, fmt.Errorf("make sealing key %s: %w", key.Name, err)
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, fmt.Errorf("make sealing key %s: %w", key.Name, err)
		}
		k.keys = append(k.keys, sealer{[]byte(prefix + key.Name + ":"), aead})
	}
	return k, nil
}

// Seal encrypts plain for the full etcd key.
func (k *Keys) Seal(plain []byte, key string) ([]byte, error) {
	s := k.keys[0]
	n := s.aead.NonceSize()
	out := make([]byte, len(s.prefix)+n, len(s.prefix)+n+len(plain)+s.aead.Overhead())
	copy(out, s.prefix)
	nonce := out[len(s.prefix):]
	if _, err := rand.Read(nonce); err != nil {
		return nil, fmt.Errorf("seal %s: %w", key, err)
	}
	return s.aead.Seal(out, nonce, plain, []byte(key)), nil
}

// Open decrypts what Seal, or upstream, has sealed, and passes plain values on.
func (k *Keys) Open(stored []byte, key string) (plain []byte, stale bool, err error) {
	if !bytes.HasPrefix(stored, []byte(anyPrefix)) {
		return stored, true, nil
	}
	for i, s := range k.keys {
		rest, ok := bytes.CutPrefix(stored, s.prefix)
		if !ok {
			continue
		}
		n := s.aead.NonceSize()
		if len(rest) < n+s.aead.Overhead() {
			return nil, false, fmt.Errorf("open %s: value cut short", key)
		}
		plain, err := s.aead.Open(nil, rest[:n], rest[n:], []byte(key))
		if err != nil {
			return nil, false, fmt.Errorf("open %s: %w", key, err)
		}
		return plain, i > 0, nil
	}
	return nil, false, fmt.Errorf("open %s: %w", key, ErrUnknownKey)
}

// Identity stores values as they are, and opens what the keys behind it can: the
// way out of encryption. A nil Keys opens plain values only.
type Identity struct{ *Keys }

// Seal returns plain.
func (Identity) Seal(plain []byte, _ string) ([]byte, error) { return plain, nil }

// Open is [Keys.Open], with plain values as the wanted state.
func (i Identity) Open(stored []byte, key string) ([]byte, bool, error) {
	switch {
	case !bytes.HasPrefix(stored, []byte(anyPrefix)):
		return stored, false, nil
	case i.Keys == nil:
		return nil, false, fmt.Errorf("open %s: %w", key, ErrUnknownKey)
	}
	plain, _, err := i.Keys.Open(stored, key)
	return plain, true, err
}

// file is the shape of a key file: {"keys":[{"name":"k1","secret":"BASE64"}]},
// newest first.
type file struct {
	Keys []Key `json:"keys"`
}

// Load reads a key file; if there is none, it makes one with a fresh key of 32
// bytes, readable by the owner only.
func Load(path string) (*Keys, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return create(path)
	}
	if err != nil {
		return nil, fmt.Errorf("load sealing keys: %w", err)
	}
	var f file
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, fmt.Errorf("load sealing keys from %s: %w", path, err)
	}
	k, err := New(f.Keys...)
	if err != nil {
		return nil, fmt.Errorf("load sealing keys from %s: %w", path, err)
	}
	return k, nil
}

// create writes the file whole before it has its name: a key must not be lost
// once something is sealed with it.
func create(path string) (*Keys, error) {
	secret := make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		return nil, fmt.Errorf("make sealing key: %w", err)
	}
	id := make([]byte, 4)
	if _, err := rand.Read(id); err != nil {
		return nil, fmt.Errorf("make sealing key: %w", err)
	}
	f := file{Keys: []Key{{Name: "key-" + strings.ToLower(base64.RawURLEncoding.EncodeToString(id)), Secret: secret}}}
	b, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("make sealing key: %w", err)
	}
	if err := write(path, append(b, '\n')); err != nil {
		return nil, fmt.Errorf("write sealing keys: %w", err)
	}
	return New(f.Keys...)
}

func write(path string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".keys-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(b)
	if err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
