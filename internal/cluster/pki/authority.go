package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
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
	"time"
)

// Authority signs certificates. The first certificate of its file is its own; further ones are predecessors that stay trusted.
type Authority struct {
	Certificate *x509.Certificate
	// Bundle is what clients must trust, PEM.
	Bundle []byte
	key    crypto.Signer
	pool   *x509.CertPool
}

// Subject says what a certificate is for. Client and Server are the extended key usages; without Key a key is made.
type Subject struct {
	CommonName    string
	Organizations []string
	DNSNames      []string
	IPs           []net.IP
	Client        bool
	Server        bool
	Life          time.Duration
	Key           crypto.Signer
}

// Issue makes a certificate. Its end never passes the authority's own.
func (a *Authority) Issue(s Subject, now time.Time) (*tls.Certificate, error) {
	key := s.Key
	if key == nil {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("generate key for %q: %w", s.CommonName, err)
		}
		key = k
	}
	der, err := a.sign(s, key.Public(), now)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parse certificate %q: %w", s.CommonName, err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

// SignRequest answers a certificate signing request: its key and names become a certificate for what the caller allows in s, whose
// own names and key are ignored. The caller has judged the request before. The answer is PEM.
func (a *Authority) SignRequest(csr *x509.CertificateRequest, s Subject, now time.Time) ([]byte, error) {
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("check signing request %q: %w", csr.Subject.CommonName, err)
	}
	s.CommonName, s.Organizations = csr.Subject.CommonName, csr.Subject.Organization
	s.DNSNames, s.IPs = csr.DNSNames, csr.IPAddresses
	der, err := a.sign(s, csr.PublicKey, now)
	if err != nil {
		return nil, err
	}
	return encodeCertificate(der), nil
}

func (a *Authority) sign(s Subject, public crypto.PublicKey, now time.Time) ([]byte, error) {
	if now.After(a.Certificate.NotAfter) {
		return nil, fmt.Errorf("issue certificate %q: %w on %s", s.CommonName, ErrExpired, a.Certificate.NotAfter.Format(time.DateOnly))
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	life := s.Life
	if life == 0 {
		life = LeafLife
	}
	t := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: s.CommonName, Organization: s.Organizations},
		NotBefore:             latest(now.Add(-Backdate), a.Certificate.NotBefore),
		NotAfter:              earliest(now.Add(life), a.Certificate.NotAfter),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		DNSNames:              s.DNSNames,
		IPAddresses:           s.IPs,
	}
	if s.Client {
		t.ExtKeyUsage = append(t.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	}
	if s.Server {
		t.ExtKeyUsage = append(t.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.Certificate, public, a.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate %q: %w", s.CommonName, err)
	}
	return der, nil
}

func newSerial() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("draw serial number: %w", err)
	}
	return serial.Add(serial, big.NewInt(1)), nil
}

// OpenAuthority reads the authority NAME.key and NAME.crt in dir, for what the cluster's own authority must not open, and makes it where
// there is none.
func OpenAuthority(dir, name, commonName string, now time.Time) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create key directory: %w", err)
	}
	return openAuthority(dir, name, commonName, now)
}

// ClientFiles keeps ca.pem, cert.pem and key.pem in dir, as the docker command line wants them: the authority, and a client's certificate,
// issued anew once two thirds of its life are over or when it is another authority's.
func (a *Authority) ClientFiles(dir string, s Subject, now time.Time) error {
	authority := encodeCertificate(a.Certificate.Raw)
	certPath, keyPath, caPath := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "ca.pem")
	if have, err := tls.LoadX509KeyPair(certPath, keyPath); err == nil && have.Leaf != nil && now.Before(renewal(have.Leaf)) &&
		have.Leaf.CheckSignatureFrom(a.Certificate) == nil {
		if ca, err := os.ReadFile(caPath); err == nil && bytes.Equal(ca, authority) {
			return nil
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("create key directory: %w", err)
	}
	pair, err := a.Issue(s, now)
	if err != nil {
		return err
	}
	cert, key, err := EncodePair(pair)
	if err != nil {
		return err
	}
	return errors.Join(writeFile(caPath, authority), writeFile(keyPath, key), writeFile(certPath, cert))
}

func openAuthority(dir, name, commonName string, now time.Time) (*Authority, error) {
	keyPath, certPath := filepath.Join(dir, name+".key"), filepath.Join(dir, name+".crt")
	key, err := readOrMakeKey(keyPath)
	if err != nil {
		return nil, err
	}
	bundle, err := os.ReadFile(certPath)
	if errors.Is(err, fs.ErrNotExist) {
		if bundle, err = selfSign(key, commonName, now); err == nil {
			err = writeFile(certPath, bundle)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open certificate authority %s: %w", certPath, err)
	}
	return newAuthority(certPath, bundle, key)
}

func newAuthority(path string, bundle []byte, key crypto.Signer) (*Authority, error) {
	certs, err := ParseCertificates(bundle)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	a := &Authority{Certificate: certs[0], Bundle: bundle, key: key, pool: x509.NewCertPool()}
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(a.Certificate.PublicKey) {
		return nil, fmt.Errorf("read %s: the certificate does not belong to the key beside it; restore the pair from a backup", path)
	}
	for _, c := range certs {
		a.pool.AddCert(c)
	}
	return a, nil
}

func selfSign(key crypto.Signer, commonName string, now time.Time) ([]byte, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("encode public key: %w", err)
	}
	id := sha256.Sum256(spki)
	t := &x509.Certificate{
		SerialNumber: serial,
		// The key's own mark in the name keeps two clusters apart in a browser's or a person's list of authorities.
		Subject:               pkix.Name{CommonName: fmt.Sprintf("%s@%x", commonName, id[:4])},
		NotBefore:             now.Add(-24 * time.Hour),
		NotAfter:              now.Add(AuthorityLife),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		SubjectKeyId:          id[:20],
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign authority %q: %w", commonName, err)
	}
	return encodeCertificate(der), nil
}

// ParseCertificates reads all certificates of a PEM text; there must be at least one.
func ParseCertificates(text []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for {
		var b *pem.Block
		if b, text = pem.Decode(text); b == nil {
			break
		}
		if b.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, fmt.Errorf("parse certificate: %w", err)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, errors.New("parse certificates: no CERTIFICATE block in PEM text")
	}
	return out, nil
}

func encodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// EncodePair is a certificate and its key as PEM.
func EncodePair(c *tls.Certificate) (cert, key []byte, err error) {
	for _, der := range c.Certificate {
		cert = append(cert, encodeCertificate(der)...)
	}
	key, err = encodeKey(c.PrivateKey)
	return cert, key, err
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
