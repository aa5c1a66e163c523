package remote

import (
	"context"
	"errors"
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
