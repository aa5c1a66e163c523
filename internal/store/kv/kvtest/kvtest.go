// Package kvtest is the suite that every [kv.Backend] passes. It may be imported
// by the implementations' tests only.
package kvtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"nau/internal/store/kv"
)

// Run checks a backend; open gives an empty one each time it is called and
// arranges for its end with t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) kv.Backend) {
	for _, c := range []struct {
		name string
		test func(*testing.T, context.Context, kv.Backend)
	}{
		{"compare and swap", swap},
		{"ranges", ranges},
		{"watch from the past and on", watch},
		{"progress", progress},
		{"compaction", compaction},
		{"concurrent writers", concurrent},
		{"snapshot", snapshot},
		{"too large", tooLarge},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			c.test(t, ctx, open(t))
		})
	}
}

func put(t *testing.T, ctx context.Context, b kv.Backend, key, value string, expect int64) kv.Result {
	t.Helper()
	r, err := b.Put(ctx, key, []byte(value), expect)
	if err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
	return r
}

func swap(t *testing.T, ctx context.Context, b kv.Backend) {
	first := put(t, ctx, b, "/r/a", "1", 0)
	if !first.OK || first.Revision == 0 {
		t.Fatalf("create: %+v", first)
	}
	if r := put(t, ctx, b, "/r/a", "2", 0); r.OK || r.Current != first.Revision {
		t.Fatalf("create again: %+v", r)
	}
	second := put(t, ctx, b, "/r/a", "2", first.Revision)
	if !second.OK || second.Revision != first.Revision+1 {
		t.Fatalf("update: %+v", second)
	}
	if r := put(t, ctx, b, "/r/a", "3", first.Revision); r.OK || r.Current != second.Revision {
		t.Fatalf("stale update: %+v", r)
	}
	if r := put(t, ctx, b, "/r/b", "3", 7); r.OK || r.Current != 0 {
		t.Fatalf("update of nothing: %+v", r)
	}
	if r, err := b.Delete(ctx, "/r/a", first.Revision); err != nil || r.OK || r.Current != second.Revision {
		t.Fatalf("stale delete: %+v %v", r, err)
	}
	if r, err := b.Delete(ctx, "/r/a", kv.Any); err != nil || !r.OK || r.Revision != second.Revision+1 {
		t.Fatalf("delete: %+v %v", r, err)
	}
	if r, err := b.Delete(ctx, "/r/a", kv.Any); err != nil || r.OK || r.Current != 0 {
		t.Fatalf("delete of nothing: %+v %v", r, err)
	}
}

func ranges(t *testing.T, ctx context.Context, b kv.Backend) {
	var revs []int64
	for _, k := range []string{"/r/a", "/r/b", "/r/c", "/s/d"} {
		revs = append(revs, put(t, ctx, b, k, "v"+k, 0).Revision)
	}
	put(t, ctx, b, "/r/b", "new", revs[1])
	if rev, err := b.Revision(ctx); err != nil || rev != revs[3]+1 {
		t.Fatalf("revision: %d %v", rev, err)
	}
	p, err := b.Range(ctx, "/r/", kv.After("/r/"), 0, 0)
	if err != nil || len(p.Pairs) != 3 || p.More || p.Revision != revs[3]+1 || string(p.Pairs[1].Value) != "new" {
		t.Fatalf("range: %+v %v", p, err)
	}
	p, err = b.Range(ctx, "/r/", kv.After("/r/"), revs[1], 1)
	if err != nil || len(p.Pairs) != 1 || !p.More || p.Count != 2 || p.Pairs[0].Key != "/r/a" || p.Pairs[0].Revision != revs[0] {
		t.Fatalf("range at a past revision: %+v %v", p, err)
	}
	if _, err = b.Range(ctx, "/r/", kv.After("/r/"), revs[3]+100, 0); !errors.Is(err, kv.ErrFuture) {
		t.Fatalf("range in the future: %v", err)
	}
}

func collect(t *testing.T, ctx context.Context, s kv.Stream, n int) []kv.Change {
	t.Helper()
	var got []kv.Change
	for len(got) < n {
		batch, err := s.Next(ctx)
		if err != nil {
			t.Fatalf("next after %d of %d: %v", len(got), n, err)
		}
		got = append(got, batch.Changes...)
		if len(batch.Changes) > 0 && batch.Revision < got[len(got)-1].Revision {
			t.Fatalf("batch up to %d holds %d", batch.Revision, got[len(got)-1].Revision)
		}
	}
	return got
}

func watch(t *testing.T, ctx context.Context, b kv.Backend) {
	first := put(t, ctx, b, "/r/a", "1", 0).Revision
	put(t, ctx, b, "/r/a", "2", first)
	put(t, ctx, b, "/other", "x", 0)
	s, err := b.Watch(ctx, "/r/", first)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	put(t, ctx, b, "/r/b", "3", 0)
	if _, err := b.Delete(ctx, "/r/a", kv.Any); err != nil {
		t.Fatal(err)
	}
	got := collect(t, ctx, s, 3)
	want := []string{"/r/a=2 false", "/r/b=3 false", "/r/a= true"}
	for i, c := range got {
		if s := fmt.Sprintf("%s=%s %v", c.Key, c.Value, c.Deleted); s != want[i] {
			t.Errorf("change %d: %s, want %s", i, s, want[i])
		}
	}
}

func progress(t *testing.T, ctx context.Context, b kv.Backend) {
	rev := put(t, ctx, b, "/r/a", "1", 0).Revision
	s, err := b.Watch(ctx, "/r/", rev)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	after := put(t, ctx, b, "/other", "x", 0).Revision
	ask := time.NewTicker(20 * time.Millisecond) // a watch that is still catching up gives no answer
	defer ask.Stop()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			s.Progress(ctx)
			select {
			case <-ask.C:
			case <-stop:
				return
			}
		}
	}()
	for {
		batch, err := s.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if batch.Revision >= after {
			return
		}
	}
}

func compaction(t *testing.T, ctx context.Context, b kv.Backend) {
	first := put(t, ctx, b, "/r/a", "1", 0).Revision
	rev := first
	for range 5 {
		rev = put(t, ctx, b, "/r/a", "1", rev).Revision
	}
	if err := b.Compact(ctx, rev); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Range(ctx, "/r/", kv.After("/r/"), first, 0); !errors.Is(err, kv.ErrCompacted) {
		t.Errorf("range: %v", err)
	}
	if p, err := b.Range(ctx, "/r/", kv.After("/r/"), rev, 0); err != nil || len(p.Pairs) != 1 {
		t.Errorf("range at the compacted revision itself: %+v %v", p, err)
	}
	s, err := b.Watch(ctx, "/r/", first)
	if err == nil {
		defer s.Close()
		_, err = s.Next(ctx)
	}
	if !errors.Is(err, kv.ErrCompacted) {
		t.Errorf("watch: %v", err)
	}
	if err := b.Maintain(ctx); err != nil {
		t.Error(err)
	}
}

func concurrent(t *testing.T, ctx context.Context, b kv.Backend) {
	const writers, each = 8, 50
	s, err := b.Watch(ctx, "/r/", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				r, err := b.Put(ctx, fmt.Sprintf("/r/%d/%d", w, i), []byte("v"), 0)
				if err != nil || !r.OK {
					t.Errorf("put: %+v %v", r, err)
				}
			}
		})
	}
	wg.Wait()
	got := collect(t, ctx, s, writers*each)
	for i := 1; i < len(got); i++ {
		if got[i].Revision <= got[i-1].Revision {
			t.Fatalf("revision %d follows %d", got[i].Revision, got[i-1].Revision)
		}
	}
}

func snapshot(t *testing.T, ctx context.Context, b kv.Backend) {
	put(t, ctx, b, "/r/a", "a value to be found", 0)
	var buf bytes.Buffer
	if err := b.Snapshot(ctx, &buf); err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(buf.Bytes(), []byte("a value to be found")) || buf.Len()%512 != 32 {
		t.Errorf("snapshot of %d bytes", buf.Len())
	}
}

func tooLarge(t *testing.T, ctx context.Context, b kv.Backend) {
	if _, err := b.Put(ctx, "/r/a", make([]byte, 16<<20), 0); !errors.Is(err, kv.ErrTooLarge) {
		t.Errorf("put: %v", err)
	}
}
