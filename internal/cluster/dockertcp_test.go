package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nau/internal/cluster/pki"
)

func TestDockerAccess(t *testing.T) {
	for _, tt := range []struct {
		d    DockerAccess
		want string
		err  string
	}{
		{DockerAccess{Hosts: []string{"tcp://10.0.0.1:2376"}}, "10.0.0.1:2376", ""},
		{DockerAccess{Hosts: []string{"tcp://0.0.0.0"}}, "0.0.0.0:2376", ""},
		{DockerAccess{Hosts: []string{"tcp://[::1]"}, NoTLS: true}, "[::1]:2375", ""},
		{DockerAccess{Hosts: []string{"tcp://localhost:5"}, NoTLS: true}, "localhost:5", ""},
		{DockerAccess{Hosts: []string{"tcp://0.0.0.0:2375"}, NoTLS: true}, "", "makes everybody who reaches it root on this machine"},
		{DockerAccess{Hosts: []string{"tcp://0.0.0.0:2375"}, NoTLS: true, Unauthenticated: true}, "0.0.0.0:2375", ""},
		{DockerAccess{Hosts: []string{"http://x"}}, "", "is not tcp://ADDRESS:PORT"},
		{DockerAccess{Hosts: []string{"tcp://x/path"}}, "", "is not tcp://ADDRESS:PORT"},
		{DockerAccess{CA: "a"}, "", "belong together"},
		{DockerAccess{Group: "no-such-group"}, "", "--docker-group no-such-group"},
	} {
		err := tt.d.check()
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) || !errors.Is(err, ErrUsage) {
				t.Errorf("%+v: %v", tt.d, err)
			}
			continue
		}
		if got, _ := tt.d.dockerAddress(tt.d.Hosts[0]); err != nil || got != tt.want {
			t.Errorf("%+v: %q %v", tt.d, got, err)
		}
	}
}

// The door opens to a client of its own authority, and to nobody else: no certificate, a stranger's, one of the cluster's.
func TestDockerTLS(t *testing.T) {
	data := t.TempDir()
	n := &node{config: &Config{DataDir: data, NodeName: "node-1", Log: slog.New(slog.DiscardHandler), Docker: DockerAccess{Hosts: []string{"tcp://127.0.0.1:0"}}}}
	doors, err := n.dockerListeners()
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "in") })}
	defer server.Close()
	n.serveHTTP(server, "test", doors[0])
	files := filepath.Join(data, "docker-tls")
	text, err := os.ReadFile(filepath.Join(files, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	own, err := tls.LoadX509KeyPair(filepath.Join(files, "cert.pem"), filepath.Join(files, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := pki.Open(t.TempDir(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	admin, err := keys.Cluster.Issue(pki.Admin("admin"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		certs []tls.Certificate
		in    bool
	}{"own": {[]tls.Certificate{own}, true}, "none": {nil, false}, "the cluster's admin": {[]tls.Certificate{*admin}, false}} {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if len(c.certs) == 0 {
				return &tls.Certificate{}, nil
			}
			return &c.certs[0], nil
		}}}}
		_, port, _ := net.SplitHostPort(doors[0].Addr().String())
		resp, err := client.Get("https://127.0.0.1:" + port + "/")
		if resp != nil {
			resp.Body.Close()
		}
		if (err == nil) != c.in {
			t.Errorf("%s: %v", name, err)
		}
	}
	before, _ := os.ReadFile(filepath.Join(files, "cert.pem"))
	if _, err := n.dockerTLS(); err != nil {
		t.Fatal(err)
	}
	if after, _ := os.ReadFile(filepath.Join(files, "cert.pem")); string(after) != string(before) {
		t.Error("a restart makes clients' certificates anew")
	}
	if info, _ := os.Stat(filepath.Join(files, "key.pem")); info.Mode().Perm()&0o077 != 0 {
		t.Errorf("the key's mode is %v", info.Mode())
	}
}
