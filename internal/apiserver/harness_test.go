package apiserver

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	_ "net/http/pprof" // for NAU_TRY_PROF
	"net/netip"
	"os"
	"os/signal"
	"reflect"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"nau/internal/api/builtin"
	"nau/internal/apiserver/authn"
	"nau/internal/apiserver/identity"
	"nau/internal/store"
)

// cluster is a server over a store of its own, without listeners: requests are function calls.
type cluster struct {
	t testing.TB
	*Server
	store *store.Store
	host  *rest.Config // where it is served; nil until it is
}

func newCluster(t testing.TB, change ...func(*Config)) *cluster {
	t.Helper()
	return newClusterOver(t, store.Config{}, change...)
}

// newClusterOver is newCluster with a store of another configuration.
func newClusterOver(t testing.TB, over store.Config, change ...func(*Config)) *cluster {
	t.Helper()
	over.Dir = t.TempDir()
	st, err := store.Open(context.Background(), over)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	cfg := Config{
		Table: builtin.Table(), Store: st,
		ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.43.0.0/16"), netip.MustParsePrefix("fd43::/112")},
		Authn: authn.Func(func(*http.Request) (*identity.Response, bool, error) {
			return &identity.Response{User: &identity.User{Name: "admin", Groups: []string{identity.Masters}}}, true, nil
		}),
	}
	cfg.Version.GitVersion, cfg.Version.Major, cfg.Version.Minor = "v1.36.3+nau", "1", "36"
	cfg.Log = slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	for _, f := range change {
		f(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &cluster{t: t, Server: s, store: st}
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	if os.Getenv("NAU_TRY") != "" {
		os.Stderr.Write(b)
	}
	return len(b), nil
}

// reply is an answer as a client sees it.
type reply struct {
	t      testing.TB
	code   int
	header http.Header
	body   []byte
}

// do sends a request; headers come in pairs.
func (c *cluster) do(method, path string, body any, headers ...string) reply {
	c.t.Helper()
	var rd io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		rd = strings.NewReader(b)
	case []byte:
		rd = bytes.NewReader(b)
	default:
		j, err := json.Marshal(b)
		if err != nil {
			c.t.Fatal(err)
		}
		rd = bytes.NewReader(j)
	}
	r := httptest.NewRequest(method, path, rd)
	r.Header.Set("User-Agent", "tester/1.0")
	if rd != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	c.Handler().ServeHTTP(w, r)
	return reply{c.t, w.Code, w.Header(), w.Body.Bytes()}
}

// want checks the code and decodes the body.
func (r reply) want(code int, into ...any) reply {
	r.t.Helper()
	if r.code != code {
		r.t.Fatalf("code %d, want %d: %s", r.code, code, r.body)
	}
	for _, v := range into {
		reflect.ValueOf(v).Elem().SetZero()
		if err := json.Unmarshal(r.body, v); err != nil {
			r.t.Fatalf("%v: %s", err, r.body)
		}
	}
	return r
}

// fails checks code, reason and a part of the message.
func (r reply) fails(code int, reason metav1.StatusReason, part string) metav1.Status {
	r.t.Helper()
	var st metav1.Status
	r.want(code, &st)
	if st.Reason != reason || !strings.Contains(st.Message, part) || st.Kind != "Status" || st.APIVersion != "v1" {
		r.t.Fatalf("got %s, want reason %s and message with %q", r.body, reason, part)
	}
	return st
}

// TestTry serves over TLS until interrupted, for trying clients by hand:
//
//	NAU_TRY=127.0.0.1:7443 NAU_TRY_CONFIG=/tmp/kubeconfig go test ./internal/apiserver -run TestTry -timeout 0
func TestTry(t *testing.T) {
	addr := os.Getenv("NAU_TRY")
	if addr == "" {
		t.Skip("NAU_TRY is not set")
	}
	c := newCluster(t)
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(c.Handler())
	srv.Listener = ln
	srv.EnableHTTP2 = true
	srv.TLS = &tls.Config{NextProtos: []string{"h2", "http/1.1"}}
	Tune(srv.Config)
	srv.StartTLS()
	defer srv.Close()
	kc := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: try, cluster: {server: "https://%s", insecure-skip-tls-verify: true}}]
users: [{name: try, user: {token: t}}]
contexts: [{name: try, context: {cluster: try, user: try}}]
current-context: try
`, addr)
	if err := os.WriteFile(os.Getenv("NAU_TRY_CONFIG"), []byte(kc), 0o600); err != nil {
		t.Fatal(err)
	}
	if u := os.Getenv("NAU_TRY_PROF"); u != "" {
		go func() { _ = http.ListenAndServe(u, http.DefaultServeMux) }()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	<-ctx.Done()
}
