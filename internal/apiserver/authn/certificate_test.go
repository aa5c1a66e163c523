package authn

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	testclock "k8s.io/utils/clock/testing"

	"nau/internal/apiserver/identity"
)

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	a := &authority{key: newKey(t).(*ecdsa.PrivateKey)}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotBefore: epoch.Add(-time.Hour), NotAfter: epoch.Add(1000 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.cert, _ = x509.ParseCertificate(der)
	return a
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

func (a *authority) issue(t testing.TB, user string, usage x509.ExtKeyUsage, groups ...string) *x509.Certificate {
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: user, Organization: groups},
		NotBefore: epoch.Add(-time.Hour), NotAfter: epoch.Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{usage}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, newKey(t).Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	c, _ := x509.ParseCertificate(der)
	return c
}

func with(c *x509.Certificate, headers ...string) *http.Request {
	r := &http.Request{Header: http.Header{}}
	if c != nil {
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{c}}
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

func TestClientCertificates(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	clock := testclock.NewFakePassiveClock(epoch)
	c := NewCertificates(ca.pool(), clock)
	if _, ok, err := c.Authenticate(with(nil)); ok || err != nil {
		t.Error("no certificate", ok, err)
	}
	for _, tc := range []struct {
		name string
		cert *x509.Certificate
		good bool
	}{
		{"good", ca.issue(t, "alice", x509.ExtKeyUsageClientAuth, "dev", "ops"), true},
		{"a server's", ca.issue(t, "alice", x509.ExtKeyUsageServerAuth), false},
		{"another authority's", other.issue(t, "alice", x509.ExtKeyUsageClientAuth), false},
		{"without a name", ca.issue(t, "", x509.ExtKeyUsageClientAuth), false},
	} {
		for range 2 { // the second time from the cache
			resp, ok, err := c.Authenticate(with(tc.cert))
			if ok != tc.good || (err == nil) != tc.good {
				t.Errorf("%s: %v %v", tc.name, ok, err)
			}
			if ok && (resp.User.Name != "alice" || !slices.Equal(resp.User.Groups, []string{"dev", "ops", identity.Authenticated}) ||
				!strings.HasPrefix(resp.User.Extra[identity.ExtraCredentialID][0], "X509SHA256=")) {
				t.Errorf("%+v", resp.User)
			}
		}
	}
	good := ca.issue(t, "alice", x509.ExtKeyUsageClientAuth)
	if _, ok, _ := c.Authenticate(with(good)); !ok {
		t.Fatal("good certificate refused")
	}
	clock.SetTime(epoch.Add(61 * time.Minute))
	if _, ok, _ := c.Authenticate(with(good)); ok {
		t.Error("a remembered certificate outlived its end")
	}
}

func TestFrontProxy(t *testing.T) {
	ca, front := newAuthority(t), newAuthority(t)
	clock := testclock.NewFakePassiveClock(epoch)
	a := New(Config{ClientRoots: ca.pool(), FrontProxyRoots: front.pool(), FrontProxyNames: []string{"front-proxy-client"}, Clock: clock, Anonymous: true})
	proxy := front.issue(t, "front-proxy-client", x509.ExtKeyUsageClientAuth)
	headers := []string{RemoteUser, "bob", RemoteGroup, "g1", RemoteGroup, "g2", RemoteUID, "u-1", "X-Remote-Extra-Acme.com%2fproject", "x"}
	for _, tc := range []struct {
		name string
		req  *http.Request
		want string
	}{
		{"the proxy for bob", with(proxy, headers...), "bob"},
		{"a client with the proxy's headers", with(ca.issue(t, "alice", x509.ExtKeyUsageClientAuth), headers...), "alice"},
		{"nobody with the proxy's headers", with(nil, headers...), "system:anonymous"},
		{"another name of the same authority", with(front.issue(t, "mallory", x509.ExtKeyUsageClientAuth), headers...), ""},
		{"the proxy for itself", with(proxy), ""},
		{"the proxy's name from the cluster's authority", with(ca.issue(t, "front-proxy-client", x509.ExtKeyUsageClientAuth), headers...), "front-proxy-client"},
	} {
		resp, ok, err := a.Authenticate(tc.req)
		if !ok {
			if tc.want != "" {
				t.Errorf("%s: %v", tc.name, err)
			}
			continue
		}
		if resp.User.Name != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, resp.User.Name, tc.want)
		}
		if tc.want == "bob" {
			u := resp.User
			if u.UID != "u-1" || !slices.Equal(u.Groups, []string{"g1", "g2", identity.Authenticated}) || !slices.Equal(u.Extra["acme.com/project"], []string{"x"}) {
				t.Errorf("%+v", u)
			}
		}
		if len(tc.req.Header) != 0 {
			t.Errorf("%s: headers left: %v", tc.name, tc.req.Header)
		}
	}
}
