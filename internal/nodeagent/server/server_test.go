package server

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"nau/internal/nodeagent/logs"
)

type nothing struct{ Backend }

func (nothing) Pods() []*corev1.Pod           { return nil }
func (nothing) Config() any                   { return map[string]string{} }
func (nothing) Healthy(context.Context) error { return nil }

// TestNobodyGetsInUnasked holds that every path wants authentication, and then the right of its subresource.
func TestNobodyGetsInUnasked(t *testing.T) {
	var who *Who
	var granted string
	h := New(Config{Node: "n1", Backend: nothing{}, Log: slog.New(slog.DiscardHandler), Logs: t.TempDir(),
		Authenticate: func(*http.Request) (*Who, bool, error) { return who, who != nil, nil },
		Authorize: func(_ context.Context, q Ask) (bool, string, error) {
			return q.Verb+" "+q.Subresource == granted && q.Node == "n1", "", nil
		}})
	ask := func(method, path string) int {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest(method, path, nil))
		return rec.Code
	}
	paths := []string{"/pods", "/pods/", "/healthz", "/configz", "/metrics", "/metrics/probes", "/stats/summary", "/logs/", "/containerLogs/a/b/c", "/exec/a/b/c", "/attach/a/b/c",
		"/portForward/a/b", "/run/a/b/c", "/", "/unknown", "//pods", "/logs/../exec/a/b/c"}
	for _, p := range paths {
		for _, m := range []string{http.MethodGet, http.MethodPost} {
			if code := ask(m, p); code != http.StatusUnauthorized {
				t.Errorf("%s %s without a name: %d", m, p, code)
			}
		}
	}
	who = &Who{Name: "u"}
	for _, p := range paths {
		if code := ask(http.MethodGet, p); code != http.StatusForbidden {
			t.Errorf("GET %s without rights: %d", p, code)
		}
	}
	for _, tt := range []struct {
		right, path string
		want        int
	}{
		{"get pods", "/pods", 200}, {"get proxy", "/pods", 200}, {"get healthz", "/healthz", 200}, {"get configz", "/configz", 200}, {"get log", "/logs/", 200},
		{"get pods", "/configz", 403}, {"get metrics", "/pods", 403}, {"get log", "/logs/../pods", 403}, {"get stats", "/exec/a/b/c", 403},
	} {
		granted = tt.right
		code := ask(http.MethodGet, tt.path)
		if code == http.StatusMovedPermanently || code == http.StatusTemporaryRedirect {
			code = http.StatusForbidden // the mux cleans the path and makes the caller ask anew
		}
		if code != tt.want {
			t.Errorf("%s with %q: %d, want %d", tt.path, tt.right, code, tt.want)
		}
	}
}

func TestLogOptions(t *testing.T) {
	now := time.Unix(1000, 0).UTC()
	for query, want := range map[string]logs.Options{
		"":                          {Tail: -1},
		"tailLines=5&follow=true":   {Tail: 5, Follow: true},
		"sinceSeconds=10":           {Tail: -1, Since: now.Add(-10 * time.Second)},
		"limitBytes=7&timestamps=1": {Tail: -1, Limit: 7, Timestamps: true},
	} {
		got, _, err := logOptions(httptest.NewRequest("GET", "/x?"+query, nil), now)
		if err != nil || got != want {
			t.Errorf("%q: %+v, %v", query, got, err)
		}
	}
	for _, bad := range []string{"tailLines=-1", "tailLines=x", "sinceSeconds=0", "limitBytes=0", "sinceTime=yesterday", "follow=maybe", "stream=x"} {
		if _, _, err := logOptions(httptest.NewRequest("GET", "/x?"+bad, nil), now); err == nil || !strings.Contains(err.Error(), ":") {
			t.Errorf("%q was taken", bad)
		}
	}
}
