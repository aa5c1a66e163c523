package standalone

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

func TestCheckRefusesWhatDoesNotFit(t *testing.T) {
	for _, c := range []struct {
		name string
		c    Config
		want string
	}{
		{"plain", Config{}, ""},
		{"half a pair", Config{TLSCert: "x"}, "go together"},
		{"two certificates", Config{TLSSelf: true, TLSCert: "x", TLSKey: "y"}, "leave --tls-cert"},
		{"auth", Config{Auth: "magic"}, "none, basic or token"},
		{"basic without users", Config{Auth: "basic"}, "--htpasswd"},
		{"token without users", Config{Auth: "token"}, "--htpasswd"},
		{"foreign token server", Config{Auth: "token", Realm: "https://x/token"}, "--token-cert"},
		{"users without auth", Config{Users: "f"}, "passed over"},
		{"mirror", Config{MirrorOf: "docker.io"}, "a URL such as"},
		{"mirror user", Config{MirrorUser: "a:b"}, "--mirror-of"},
		{"interval", Config{GCInterval: -1}, "negative"},
	} {
		err := c.c.Check()
		if (err == nil) != (c.want == "") || err != nil && (!errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// begin starts a registry and ends it with the test.
func begin(t *testing.T, c Config) *Server {
	t.Helper()
	c.Addr = "127.0.0.1:0"
	s, err := Start(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil && !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return s
}

func TestOwnCertificateAndUsers(t *testing.T) {
	dir := t.TempDir()
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	users := filepath.Join(dir, "users")
	if err := os.WriteFile(users, []byte("ann:"+string(hash)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := begin(t, Config{DataDir: dir, TLSSelf: true, Auth: "basic", Realm: "here", Users: users})
	pem, err := os.ReadFile(SelfCert(dir))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	defer client.CloseIdleConnections()
	for _, c := range []struct {
		user, password string
		want           int
	}{{"", "", http.StatusOK}, {"ann", "secret", http.StatusOK}, {"ann", "x", http.StatusUnauthorized}} {
		req, _ := http.NewRequest(http.MethodGet, s.URL()+"/v2/", nil)
		if c.user != "" {
			req.SetBasicAuth(c.user, c.password)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != c.want {
			t.Errorf("%q: status %d, want %d", c.user, resp.StatusCode, c.want)
		}
	}
	before, _ := os.ReadFile(SelfCert(dir))
	if err := selfSign(SelfCert(dir), filepath.Join(dir, "tls", "key.pem"), names("127.0.0.1"), time.Now()); err != nil {
		t.Fatal(err)
	}
	if after, _ := os.ReadFile(SelfCert(dir)); string(after) != string(before) {
		t.Error("a certificate that holds was made anew")
	}
	if err := selfSign(SelfCert(dir), filepath.Join(dir, "tls", "key.pem"), names("127.0.0.1"), time.Now().Add(selfLife*3/4)); err != nil {
		t.Fatal(err)
	}
	if after, _ := os.ReadFile(SelfCert(dir)); string(after) == string(before) {
		t.Error("a certificate in its last third was kept")
	}
}

func TestOneProcessADirectory(t *testing.T) {
	dir := t.TempDir()
	begin(t, Config{DataDir: dir})
	if _, err := Start(Config{Addr: "127.0.0.1:0", DataDir: dir}); !errors.Is(err, errLocked) {
		t.Errorf("a second one: %v", err)
	}
	if n, err := Collect(context.Background(), Config{DataDir: dir}); err != nil || n != 0 {
		t.Errorf("collect by the running one: %d, %v", n, err)
	}
	if n, err := Collect(context.Background(), Config{DataDir: t.TempDir()}); err != nil || n != 0 {
		t.Errorf("collect here: %d, %v", n, err)
	}
}

func TestTokenKeyStays(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token.key")
	a, err := signingKey(file)
	if err != nil {
		t.Fatal(err)
	}
	b, err := signingKey(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.Public().(ed25519.PublicKey), b.Public().(ed25519.PublicKey)) {
		t.Error("another key after a restart")
	}
}
