package pki

import (
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// Rotating is a certificate that renews itself when it is used: once two thirds of its life are over, the next handshake issues
// its successor. Nothing ticks in between. It is safe for concurrent use.
type Rotating struct {
	authority *Authority
	clock     clock.PassiveClock

	mu      sync.Mutex
	subject Subject
	current *tls.Certificate
	renewAt time.Time
}

// Rotate makes a rotating certificate for a subject, issued at once so that a wrong subject fails here.
func (a *Authority) Rotate(s Subject, c clock.PassiveClock) (*Rotating, error) {
	r := &Rotating{authority: a, clock: c, subject: s}
	_, err := r.Certificate()
	return r, err
}

// Certificate is the current certificate, a fresh one if it is time.
func (r *Rotating) Certificate() (*tls.Certificate, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.clock.Now()
	// A clock that was set back makes the certificate not yet valid: then too it is issued anew.
	if r.current != nil && now.Before(r.renewAt) && !now.Before(r.current.Leaf.NotBefore) {
		return r.current, nil
	}
	c, err := r.authority.Issue(r.subject, now)
	if err != nil {
		if r.current != nil && now.Before(r.current.Leaf.NotAfter) {
			return r.current, nil
		}
		return nil, err
	}
	r.current = c
	r.renewAt = now.Add(c.Leaf.NotAfter.Sub(now) * 2 / 3)
	return c, nil
}

// AddNames adds DNS names and addresses; the next handshake shows them.
func (r *Rotating) AddNames(dnsNames []string, ips []net.IP) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range dnsNames {
		if !slices.Contains(r.subject.DNSNames, n) {
			r.subject.DNSNames = append(slices.Clip(r.subject.DNSNames), n)
			r.current = nil
		}
	}
	for _, ip := range ips {
		if !slices.ContainsFunc(r.subject.IPs, ip.Equal) {
			r.subject.IPs = append(slices.Clip(r.subject.IPs), ip)
			r.current = nil
		}
	}
}

// GetCertificate is for tls.Config of a server.
func (r *Rotating) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return r.Certificate()
}

// GetClientCertificate is for tls.Config of a client.
func (r *Rotating) GetClientCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return r.Certificate()
}

// ServerTLS is the configuration of a listener that shows r and asks clients for a certificate without judging it: authn does
// that, so that a stranger's certificate is a 401 and not a broken handshake.
func ServerTLS(r *Rotating) *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		ClientAuth:     tls.RequestClientCert,
		GetCertificate: r.GetCertificate,
	}
}

// ClientTLS is the configuration of a client that trusts the authority's servers and shows r, which may be nil.
func (a *Authority) ClientTLS(r *Rotating) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: a.pool}
	if r != nil {
		c.GetClientCertificate = r.GetClientCertificate
	}
	return c
}

// APIServer is the subject of the API's serving certificate. Names and addresses (as text) are those that clients may use beside
// the ones every cluster has: localhost, the loopback addresses and kubernetes.default.svc with all its short forms. The service
// addresses (10.43.0.1, fd43::1) are among extra.
func APIServer(domain string, extra ...string) Subject {
	s := Subject{
		CommonName: "kube-apiserver",
		DNSNames: []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
			"kubernetes.default.svc." + strings.Trim(domain, ".")},
		IPs:    []net.IP{net.IPv4(127, 0, 0, 1).To4(), net.IPv6loopback},
		Server: true,
	}
	return s.with(extra)
}

// NodeServer is the subject of a node agent's serving certificate.
func NodeServer(node string, extra ...string) Subject {
	s := Node(node)
	s.Client, s.Server = false, true
	return s.with(append([]string{node}, extra...))
}

// Node is the subject of a node agent's client certificate.
func Node(name string) Subject {
	return Subject{CommonName: "system:node:" + name, Organizations: []string{"system:nodes"}, Client: true}
}

// Admin is the subject that may do everything.
func Admin(name string) Subject {
	return Subject{CommonName: name, Organizations: []string{"system:masters"}, Client: true, Life: AdminLife}
}

// Client is the subject of a component such as system:kube-scheduler.
func Client(user string, groups ...string) Subject {
	return Subject{CommonName: user, Organizations: groups, Client: true}
}

func (s Subject) with(names []string) Subject {
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			if !slices.ContainsFunc(s.IPs, ip.Equal) {
				s.IPs = append(s.IPs, ip)
			}
		} else if n != "" && !slices.Contains(s.DNSNames, n) {
			s.DNSNames = append(s.DNSNames, n)
		}
	}
	return s
}

// String names a subject for logs.
func (s Subject) String() string { return fmt.Sprintf("%s %v", s.CommonName, s.Organizations) }
