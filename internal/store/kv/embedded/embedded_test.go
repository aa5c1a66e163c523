package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"nau/internal/store/kv"
	"nau/internal/store/kv/kvtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, dir string, quota int64) *Member {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	m, err := Open(ctx, Config{Dir: dir, QuotaBytes: quota})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func TestBackend(t *testing.T) {
	kvtest.Run(t, func(t *testing.T) kv.Backend { return open(t, t.TempDir(), 0) })
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, 0)
	r, err := m.Put(t.Context(), "/a", []byte("1"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Config{Dir: dir}); err == nil {
		t.Fatal("a second member opened the directory")
	}
	m.Close()
	if _, err := m.Put(t.Context(), "/b", nil, 0); !errors.Is(err, kv.ErrStopped) {
		t.Errorf("put after close: %v", err)
	}
	m = open(t, dir, 0)
	p, err := m.Range(t.Context(), "/", kv.After("/"), 0, 0)
	if err != nil || len(p.Pairs) != 1 || p.Revision != r.Revision {
		t.Errorf("after reopening: %+v %v", p, err)
	}
}

// The quota refuses writes, deletes still work, and making room lifts it.
func TestQuota(t *testing.T) {
	m := open(t, t.TempDir(), 8<<20)
	ctx := t.Context()
	value := make([]byte, 256<<10)
	var err error
	n := 0
	for ; err == nil && n < 1000; n++ {
		_, err = m.Put(ctx, fmt.Sprintf("/r/%d", n), value, 0)
	}
	if !errors.Is(err, kv.ErrNoSpace) {
		t.Fatalf("after %d puts: %v", n, err)
	}
	for i := range n {
		if _, err := m.Delete(ctx, fmt.Sprintf("/r/%d", i), kv.Any); err != nil {
			t.Fatalf("delete: %v", err)
		}
	}
	rev, err := m.Revision(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Compact(ctx, rev); err != nil {
		t.Fatal(err)
	}
	if err := m.Maintain(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Put(ctx, "/r/new", value, 0); err != nil {
		t.Errorf("put after making room: %v", err)
	}
}

// A fatal line of etcd marks the member broken and ends only its goroutine.
func TestFatal(t *testing.T) {
	lock, err := lockDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	f := newFuse(lock)
	defer f.unlock()
	log := newLogger(discard, f)
	done := make(chan struct{})
	go func() {
		defer close(done)
		log.Fatal("save log", zap.Error(errors.New("no space left on device")))
		t.Error("went on")
	}()
	<-done
	if !errors.Is(f.Err(), kv.ErrStopped) || f.Err().Error() != "etcd stopped: save log: no space left on device" {
		t.Error(f.Err())
	}
}

func BenchmarkOpen(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		dir := b.TempDir()
		b.StartTimer()
		m := open(b, dir, 0)
		b.StopTimer()
		m.Close()
		b.StartTimer()
	}
}

func BenchmarkPut(b *testing.B) {
	m := open(b, b.TempDir(), 0)
	value := make([]byte, 1024)
	var n atomic.Int64
	b.SetParallelism(8)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if _, err := m.Put(context.Background(), fmt.Sprintf("/r/%d", n.Add(1)), value, 0); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// The storage version that cannot be noted yet is no error; one that can never be is.
func TestOnlyTheSecondFailureIsTold(t *testing.T) {
	var out bytes.Buffer
	log := newLogger(slog.New(slog.NewTextHandler(&out, nil)), nil).With(zap.String("member", "a"))
	log.Error(tooEarly, zap.Error(errors.New("missing term information")))
	if out.Len() != 0 {
		t.Errorf("told: %s", out.String())
	}
	log.Error(tooEarly, zap.Error(errors.New("missing term information")))
	log.Error("save log")
	if got := strings.Count(out.String(), "level=ERROR"); got != 2 {
		t.Errorf("%d errors were told, want 2: %s", got, out.String())
	}
}
