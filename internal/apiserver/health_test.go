package apiserver

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// A store that hangs, such as one on another machine that is away, makes a server unhealthy; the question does not hang.
func TestHealthOfAStoreThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &health{healthy: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
		began := time.Now()
		err := h.etcd(t.Context())
		if err == nil || err.Error() != "the store has not answered within 2s" {
			t.Errorf("a store that hangs: %v", err)
		}
		if took := time.Since(began); took != storeAnswers {
			t.Errorf("answered after %s", took)
		}
	})
}
