package standalone

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// selfLife is how long a certificate of our own making holds; it is made anew in the last third.
const selfLife = 365 * 24 * time.Hour

// pair is a certificate in two files, read again when they change: whoever renews it need not restart us.
type pair struct {
	cert, key string

	mu   sync.Mutex
	at   time.Time
	last *tls.Certificate
}

func (p *pair) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	info, err := os.Stat(p.cert)
	if err == nil && p.last != nil && info.ModTime().Equal(p.at) {
		return p.last, nil
	}
	c, loadErr := tls.LoadX509KeyPair(p.cert, p.key)
	if err = errors.Join(err, loadErr); err != nil {
		if p.last != nil {
			return p.last, nil // in the middle of a change
		}
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	p.last, p.at = &c, info.ModTime()
	return p.last, nil
}

// tlsConfig is nil without TLS.
func tlsConfig(c Config) (*tls.Config, error) {
	p := &pair{cert: c.TLSCert, key: c.TLSKey}
	switch {
	case c.TLSSelf:
		p.cert, p.key = SelfCert(c.DataDir), filepath.Join(c.DataDir, "tls", "key.pem")
		host, _, err := net.SplitHostPort(c.Addr)
		if err != nil {
			return nil, bad("--addr %q: HOST:PORT is needed", c.Addr)
		}
		if err := selfSign(p.cert, p.key, names(host), time.Now()); err != nil {
			return nil, err
		}
	case c.TLSCert == "":
		return nil, nil
	}
	if _, err := p.get(nil); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: p.get, NextProtos: []string{"h2", "http/1.1"}}, nil
}

// SelfCert is the file that clients need to trust a registry with a certificate of its own making.
func SelfCert(dir string) string { return filepath.Join(dir, "tls", "cert.pem") }

// names are what a certificate of our own making is good for: the address listened on, or all of this machine's.
func names(host string) []string {
	out := []string{"localhost", "127.0.0.1", "::1"}
	if h, err := os.Hostname(); err == nil {
		out = append(out, h)
	}
	if ip := net.ParseIP(host); host != "" && (ip == nil || !ip.IsUnspecified()) {
		return append(out, host)
	}
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && !n.IP.IsLinkLocalUnicast() {
			out = append(out, n.IP.String())
		}
	}
	return out
}

// selfSign makes the pair unless one stands that holds for a while yet and has all the names.
func selfSign(cert, key string, names []string, now time.Time) error {
	if c, err := tls.LoadX509KeyPair(cert, key); err == nil && c.Leaf != nil && now.Before(c.Leaf.NotAfter.Add(-selfLife/3)) {
		fits := true
		for _, n := range names {
			fits = fits && c.Leaf.VerifyHostname(n) == nil
		}
		if fits {
			return nil
		}
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return err
	}
	t := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: "nau registry"}, NotBefore: now.Add(-5 * time.Minute), NotAfter: now.Add(selfLife),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true, IsCA: true}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, private.Public(), private)
	if err != nil {
		return fmt.Errorf("make certificate: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(cert), 0o755); err != nil {
		return fmt.Errorf("keep certificate: %w", err)
	}
	if err := writeKey(key, private); err != nil {
		return err
	}
	if err := os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		return fmt.Errorf("keep certificate: %w", err)
	}
	return nil
}

func writeKey(file string, key crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("keep key: %w", err)
	}
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		return fmt.Errorf("keep key: %w", err)
	}
	return nil
}

// signingKey reads what tokens are signed with, and makes it the first time.
func signingKey(file string) (crypto.Signer, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		return key, writeKey(file, key)
	}
	if err != nil {
		return nil, fmt.Errorf("read token key: %w", err)
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("read token key %s: not PEM", file)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read token key %s: %w", file, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("read token key %s: %T cannot sign", file, key)
	}
	return signer, nil
}

// readPublic reads a certificate or a public key.
func readPublic(file string) (crypto.PublicKey, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, bad("--token-cert: %v", err)
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, bad("--token-cert %s: not PEM", file)
	}
	if c, err := x509.ParseCertificate(block.Bytes); err == nil {
		return c.PublicKey, nil
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, bad("--token-cert %s: neither a certificate nor a public key", file)
	}
	return key, nil
}

// methodOf is the one signature method that goes with a key: a token cannot choose another.
func methodOf(key crypto.PublicKey) (jwt.SigningMethod, error) {
	switch k := key.(type) {
	case ed25519.PublicKey:
		return jwt.SigningMethodEdDSA, nil
	case *rsa.PublicKey:
		return jwt.SigningMethodRS256, nil
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return jwt.SigningMethodES256, nil
		}
	}
	return nil, fmt.Errorf("no signature method for keys of type %T: RSA, P-256 and Ed25519 are known", key)
}
