package store

import (
	"fmt"
	"sync"
	"testing"

	"nau/internal/store/kv/kvtest"
)

// Two stores on one external etcd: what one has written, the other reads, and
// sees in order.
func TestExternal(t *testing.T) {
	endpoint := kvtest.Serve(t)
	open := func() *bench {
		s, err := Open(t.Context(), Config{Endpoints: []string{endpoint}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return &bench{t: t, ctx: t.Context(), store: s, c: s.Collection(things)}
	}
	a, b := open(), open()
	w := b.watch(WatchOptions{Initial: true, Bookmarks: true})
	b.expect(w, "BOOKMARK initial")
	x := a.create("a/x")
	if got, err := b.c.Get(b.ctx, "a/x", 0); err != nil || got.Revision != x.Revision {
		t.Fatalf("read by the other: %v %v", got, err)
	}
	// A write outside the prefix raises the revision unseen; reads do not wait
	// for ever.
	if _, err := a.store.backend.Put(a.ctx, "/elsewhere", nil, 0); err != nil {
		t.Fatal(err)
	}
	if p := b.list(ListOptions{}); len(p.Entries) != 1 || p.Revision <= x.Revision {
		t.Errorf("%d entries at %d", len(p.Entries), p.Revision)
	}
	a.update(x, "l=1")
	b.delete("a/x")
	b.expect(w, "ADDED a/x", "MODIFIED a/x", "DELETED a/x")
	if p := a.list(ListOptions{}); len(p.Entries) != 0 {
		t.Error(keys(p))
	}

	var wg sync.WaitGroup
	for i, s := range []*bench{a, b} {
		for w := range 4 {
			wg.Go(func() {
				for n := range 25 {
					key := fmt.Sprintf("b/%d-%d-%d", i, w, n)
					s.create(key)
					if _, err := s.c.Get(s.ctx, key, 0); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	pa, pb := a.list(ListOptions{}), b.list(ListOptions{})
	if len(pa.Entries) != 200 || len(pb.Entries) != 200 {
		t.Errorf("%d and %d entries", len(pa.Entries), len(pb.Entries))
	}
}
