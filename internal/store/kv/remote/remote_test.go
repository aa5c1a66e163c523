package remote

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"nau/internal/store/kv"
	"nau/internal/store/kv/kvtest"
)

func TestBackend(t *testing.T) {
	kvtest.Run(t, func(t *testing.T) kv.Backend {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c, err := Open(ctx, Config{Endpoints: []string{kvtest.Serve(t)}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	})
}

func TestClosed(t *testing.T) {
	c, err := Open(t.Context(), Config{Endpoints: []string{kvtest.Serve(t)}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Watch(t.Context(), "/", 0)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if _, err := s.Next(t.Context()); !errors.Is(err, kv.ErrStopped) {
		t.Error(err)
	}
	if _, err := c.Watch(t.Context(), "/", 0); !errors.Is(err, kv.ErrStopped) {
		t.Error(err)
	}
}

// A cluster that takes connections and says nothing is an error that tells so, not a wait without end.
func TestSilent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = Open(t.Context(), Config{Endpoints: []string{"http://" + l.Addr().String()}, Patience: 50 * time.Millisecond})
	if !errors.Is(err, ErrSilent) || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, Config{Endpoints: []string{"http://" + l.Addr().String()}}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
