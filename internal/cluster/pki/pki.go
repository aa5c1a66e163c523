// Package pki owns a cluster's keys on disk: its certificate authorities, the service account signing keys and the keys for
// encryption at rest; and everything issued from them: serving and client certificates that renew themselves, kubeconfig files.
//
// It knows certificates, not requests: who a certificate speaks for is authn's business. Only cluster and cmd import it.
//
// # Files
//
// All below one directory (mode 0700), each written aside, synced and renamed, mode 0600:
//
//	ca.key, ca.crt                            the cluster's authority: serving and client certificates (PKCS#8, PEM)
//	front-proxy-ca.key, front-proxy-ca.crt    the authority of request-header proxies, apart so that neither can speak for the other
//	service-account.keys                      PEM blocks; the first signs, all verify
//	encryption.keys                           lines "NAME BASE64(32 bytes)"; the first encrypts, all decrypt
//
// Leaf certificates are not stored: they live for a day or less, in memory, and are issued again when two thirds of their life
// are over. The exception is the certificate inside a kubeconfig file, see Kubeconfig. A key is written before its certificate; a
// certificate lost in between is made again from the key. There is no migration: an unknown file is left alone.
package pki

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
)

// Lives of what is issued. Backdate covers clocks that run behind ours.
const (
	AuthorityLife = 30 * 365 * 24 * time.Hour
	LeafLife      = 24 * time.Hour
	AdminLife     = 365 * 24 * time.Hour
	Backdate      = time.Hour
)

// PKI is the opened key material of one cluster. It is safe for concurrent use.
type PKI struct {
	Dir        string
	Cluster    *Authority
	FrontProxy *Authority
	// ServiceAccounts signs and verifies service account tokens.
	ServiceAccounts *KeySet
	// Encryption are the keys for encryption at rest, the current one first.
	Encryption []NamedKey
}

// Open reads the key material in dir and makes what is missing, all of it in parallel. Now dates what is made.
func Open(dir string, now time.Time) (*PKI, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create key directory: %w", err)
	}
	p := &PKI{Dir: dir}
	var g errgroup.Group
	g.Go(func() (err error) { p.Cluster, err = openAuthority(dir, "ca", "nau-ca", now); return })
	g.Go(func() (err error) {
		p.FrontProxy, err = openAuthority(dir, "front-proxy-ca", "nau-front-proxy-ca", now)
		return
	})
	g.Go(func() (err error) {
		p.ServiceAccounts, err = openKeySet(filepath.Join(dir, "service-account.keys"))
		return
	})
	g.Go(func() (err error) {
		p.Encryption, err = openNamedKeys(filepath.Join(dir, "encryption.keys"), now)
		return
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return p, nil
}

// ErrExpired says that an authority's certificate is past its end.
var ErrExpired = errors.New("certificate authority has expired")

// Pool is the set of certificates that clients of this cluster must trust.
func (a *Authority) Pool() *x509.CertPool { return a.pool }
