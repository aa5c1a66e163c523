package docker

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

// A page of another origin does not get in; a program on this machine does, over the socket that only it reaches.
func TestSameSide(t *testing.T) {
	for _, tt := range []struct {
		origin, host string
		at           net.Addr
		want         bool
	}{
		{"", "h:2376", &net.TCPAddr{}, true},
		{"https://h:2376", "h:2376", &net.TCPAddr{}, true},
		{"https://evil.example", "h:2376", &net.TCPAddr{}, false},
		{"http://localhost", "h:2376", &net.TCPAddr{}, false},
		{"http://localhost", "", &net.UnixAddr{}, true},
		{"http://127.0.0.1:8080", "docker", &net.UnixAddr{}, true},
		{"http://evil.example", "docker", &net.UnixAddr{}, false},
		{"http://%zz", "docker", &net.UnixAddr{}, false},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host = tt.host
		if tt.origin != "" {
			r.Header.Set("Origin", tt.origin)
		}
		if got := sameSide(r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, tt.at))); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
}
