package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	testclock "k8s.io/utils/clock/testing"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func open(t *testing.T, dir string) *PKI {
	t.Helper()
	p, err := Open(dir, epoch)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestOpenMakesOnceAndKeeps(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	a := open(t, dir)
	b := open(t, dir)
	if string(a.Cluster.Bundle) != string(b.Cluster.Bundle) || string(a.FrontProxy.Bundle) != string(b.FrontProxy.Bundle) {
		t.Error("authorities changed between two opens")
	}
	if !a.ServiceAccounts.Verifying()[0].(*ecdsa.PublicKey).Equal(b.ServiceAccounts.Verifying()[0]) {
		t.Error("service account key changed between two opens")
	}
	if a.Encryption[0] != b.Encryption[0] {
		t.Error("encryption key changed between two opens")
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 6 {
		t.Errorf("%d files, want 6: %v", len(files), files)
	}
	for _, f := range files {
		if i, _ := f.Info(); i.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", f.Name(), i.Mode())
		}
	}
}

func TestCertificateLostInACrashIsMadeAgainFromItsKey(t *testing.T) {
	dir := t.TempDir()
	a := open(t, dir)
	leaf, err := a.Cluster.Issue(Node("n1"), epoch)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "ca.crt")); err != nil {
		t.Fatal(err)
	}
	b := open(t, dir)
	opts := x509.VerifyOptions{Roots: b.Cluster.Pool(), CurrentTime: epoch, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if _, err := leaf.Leaf.Verify(opts); err != nil {
		t.Errorf("old certificate under the new authority: %v", err)
	}
}

func TestForeignPairIsRefused(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	open(t, one)
	open(t, two)
	if err := os.Rename(filepath.Join(one, "ca.key"), filepath.Join(two, "ca.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(two, epoch); err == nil || !strings.Contains(err.Error(), "does not belong") {
		t.Errorf("error %v, want one that says the pair does not match", err)
	}
}

func TestServingCertificateHasEveryName(t *testing.T) {
	p := open(t, t.TempDir())
	c := testclock.NewFakePassiveClock(epoch)
	r, err := p.Cluster.Rotate(APIServer("cluster.local", "10.43.0.1", "fd43::1", "box", "192.0.2.7"), c)
	if err != nil {
		t.Fatal(err)
	}
	check := func(names ...string) {
		t.Helper()
		cert, err := r.Certificate()
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			if _, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: p.Cluster.Pool(), CurrentTime: c.Now(), DNSName: n}); err != nil {
				t.Errorf("%s: %v", n, err)
			}
		}
	}
	check("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
		"127.0.0.1", "::1", "10.43.0.1", "fd43::1", "box", "192.0.2.7")
	r.AddNames([]string{"later.example"}, []net.IP{net.ParseIP("192.0.2.8")})
	check("later.example", "192.0.2.8", "localhost")
}

func TestCertificateRenewsWhileItIsUsed(t *testing.T) {
	p := open(t, t.TempDir())
	c := testclock.NewFakePassiveClock(epoch)
	r, err := p.Cluster.Rotate(Node("n1"), c)
	if err != nil {
		t.Fatal(err)
	}
	serial := func() string {
		cert, err := r.Certificate()
		if err != nil {
			t.Fatal(err)
		}
		if now := c.Now(); now.Before(cert.Leaf.NotBefore) || now.After(cert.Leaf.NotAfter) {
			t.Fatalf("at %v the certificate is good from %v to %v", now, cert.Leaf.NotBefore, cert.Leaf.NotAfter)
		}
		return cert.Leaf.SerialNumber.String()
	}
	first := serial()
	c.SetTime(epoch.Add(15 * time.Hour))
	if serial() != first {
		t.Error("renewed before two thirds of its life")
	}
	c.SetTime(epoch.Add(17 * time.Hour))
	second := serial()
	if second == first {
		t.Error("not renewed after two thirds of its life")
	}
	c.SetTime(epoch.Add(-48 * time.Hour).Add(25 * time.Hour)) // the clock was set back
	if serial() == second {
		t.Error("not renewed for a clock that was set back")
	}
	c.SetTime(epoch.Add(10 * 365 * 24 * time.Hour)) // ten years in one sleep
	serial()
	c.SetTime(epoch.Add(AuthorityLife - time.Hour))
	cert, err := r.Certificate()
	if err != nil || cert.Leaf.NotAfter.After(p.Cluster.Certificate.NotAfter) {
		t.Errorf("near the authority's end: %v, ends %v", err, cert.Leaf.NotAfter)
	}
	c.SetTime(epoch.Add(AuthorityLife + time.Hour))
	if _, err := r.Certificate(); err == nil {
		t.Error("issued a certificate after the authority's end")
	}
}

func TestHandshakeSeesTheRenewedCertificate(t *testing.T) {
	p := open(t, t.TempDir())
	c := testclock.NewFakePassiveClock(epoch)
	server, _ := p.Cluster.Rotate(APIServer("cluster.local"), c)
	client, _ := p.Cluster.Rotate(Admin("admin"), c)
	shake := func() (serverSerial, user string) {
		a, b := net.Pipe()
		sc := ServerTLS(server)
		cc := p.Cluster.ClientTLS(client)
		cc.ServerName, cc.Time = "localhost", c.Now
		s, cl := tls.Server(a, sc), tls.Client(b, cc)
		done := make(chan error, 1)
		go func() { done <- s.Handshake() }()
		if err := cl.Handshake(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		return cl.ConnectionState().PeerCertificates[0].SerialNumber.String(), s.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	first, user := shake()
	if user != "admin" {
		t.Errorf("server saw %q", user)
	}
	c.SetTime(epoch.Add(20 * time.Hour))
	if second, _ := shake(); second == first {
		t.Error("handshake after renewal shows the old certificate")
	}
}

func TestClientAndServerUsagesStayApart(t *testing.T) {
	p := open(t, t.TempDir())
	for _, tc := range []struct {
		name  string
		by    *Authority
		s     Subject
		usage x509.ExtKeyUsage
		good  bool
	}{
		{"node as client", p.Cluster, Node("n"), x509.ExtKeyUsageClientAuth, true},
		{"node as server", p.Cluster, Node("n"), x509.ExtKeyUsageServerAuth, false},
		{"node's server as client", p.Cluster, NodeServer("n"), x509.ExtKeyUsageClientAuth, false},
		{"front proxy's client for the cluster", p.FrontProxy, Client("front-proxy-client"), x509.ExtKeyUsageClientAuth, false},
	} {
		leaf, err := tc.by.Issue(tc.s, epoch)
		if err != nil {
			t.Fatal(err)
		}
		_, err = leaf.Leaf.Verify(x509.VerifyOptions{Roots: p.Cluster.Pool(), CurrentTime: epoch, KeyUsages: []x509.ExtKeyUsage{tc.usage}})
		if (err == nil) != tc.good {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

func TestSignRequest(t *testing.T) {
	p := open(t, t.TempDir())
	key, _ := newKey()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "system:node:n2", Organization: []string{"system:nodes"}}}, key)
	if err != nil {
		t.Fatal(err)
	}
	csr, _ := x509.ParseCertificateRequest(der)
	text, err := p.Cluster.SignRequest(csr, Subject{Client: true, Life: time.Hour}, epoch)
	if err != nil {
		t.Fatal(err)
	}
	certs, err := ParseCertificates(text)
	if err != nil || certs[0].Subject.CommonName != "system:node:n2" || !certs[0].NotAfter.Equal(epoch.Add(time.Hour)) {
		t.Errorf("certificate %v, %v", certs, err)
	}
	csr.Signature[8] ^= 1
	if _, err := p.Cluster.SignRequest(csr, Subject{Client: true}, epoch); err == nil {
		t.Error("signed a request whose own signature is wrong")
	}
}

func TestServiceAccountKeysRotate(t *testing.T) {
	dir := t.TempDir()
	p := open(t, dir)
	first := p.ServiceAccounts.Signing()
	second, err := p.ServiceAccounts.Rotate(2)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*KeySet{p.ServiceAccounts, open(t, dir).ServiceAccounts} {
		v := s.Verifying()
		if len(v) != 2 || !same(v[0], second) || !same(v[1], first) || !same(s.Signing().Public(), second) {
			t.Errorf("after rotation: %d keys, order wrong", len(v))
		}
	}
	p.ServiceAccounts.Rotate(2)
	if v := p.ServiceAccounts.Verifying(); len(v) != 2 || !same(v[1], second) {
		t.Error("rotation kept the oldest key instead of the newest two")
	}
}

func same(public crypto.PublicKey, key crypto.Signer) bool {
	return public.(*ecdsa.PublicKey).Equal(key.Public())
}

func TestKubeconfig(t *testing.T) {
	p := open(t, t.TempDir())
	k := Kubeconfig{Path: filepath.Join(t.TempDir(), "sub", "config"), Name: "nau", Server: "https://127.0.0.1:6443", Subject: Admin("admin")}
	next, err := k.Refresh(p.Cluster, epoch)
	if err != nil {
		t.Fatal(err)
	}
	one, _ := os.ReadFile(k.Path)
	cfg, err := clientcmd.RESTConfigFromKubeConfig(one)
	if err != nil || cfg.Host != k.Server || len(cfg.CertData) == 0 {
		t.Fatalf("read back: %v %+v", err, cfg)
	}
	if again, err := k.Refresh(p.Cluster, next.Add(-time.Hour)); err != nil || !again.Equal(next) {
		t.Errorf("refresh too early: %v %v", again, err)
	}
	if two, _ := os.ReadFile(k.Path); string(one) != string(two) {
		t.Error("file changed without need")
	}
	if after, err := k.Refresh(p.Cluster, next); err != nil || !after.After(next) {
		t.Errorf("refresh in time: %v %v", after, err)
	}
	if two, _ := os.ReadFile(k.Path); string(one) == string(two) {
		t.Error("file not renewed")
	}
	moved := k
	moved.Server = "https://127.0.0.1:7443"
	if _, err := moved.Refresh(p.Cluster, epoch); err != nil {
		t.Error(err)
	}
	other := k
	other.Name = "other"
	if _, err := other.Refresh(p.Cluster, epoch); err == nil {
		t.Error("overwrote another cluster's kubeconfig")
	}
	if i, _ := os.Stat(k.Path); i.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", i.Mode())
	}
}

func BenchmarkOpenEmpty(b *testing.B) {
	for b.Loop() {
		p, err := Open(b.TempDir(), epoch)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := p.Cluster.Issue(APIServer("cluster.local"), epoch); err != nil {
			b.Fatal(err)
		}
	}
}
