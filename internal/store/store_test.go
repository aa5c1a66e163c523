package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	testclock "k8s.io/utils/clock/testing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// thing is the object of these tests: metadata, with the annotation "node" as a
// selectable field.
type thing = metav1.PartialObjectMetadata

type codec struct{}

func (codec) Decode(b []byte) (runtime.Object, error) {
	t := &thing{}
	return t, json.Unmarshal(b, t)
}

func (c codec) Restamped(obj runtime.Object, revision int64) runtime.Object {
	out := obj.DeepCopyObject()
	c.Stamp(out, revision)
	return out
}

func (codec) Stamp(obj runtime.Object, revision int64) {
	obj.(*thing).ResourceVersion = strconv.FormatInt(revision, 10)
}

func (codec) Attributes(obj runtime.Object) (labels.Set, fields.Set) {
	t := obj.(*thing)
	return t.Labels, fields.Set{"metadata.name": t.Name, "metadata.namespace": t.Namespace, "node": t.Annotations["node"]}
}

// object makes a value; the rest are label or annotation pairs: "a=b", "node@n1".
func object(key string, pairs ...string) Value {
	namespace, name := split(key)
	t := &thing{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{}, Annotations: map[string]string{}}}
	for _, p := range pairs {
		for i, r := range p {
			if r == '=' {
				t.Labels[p[:i]] = p[i+1:]
			} else if r == '@' {
				t.Annotations[p[:i]] = p[i+1:]
			}
		}
	}
	b, err := json.Marshal(t)
	if err != nil {
		panic(err)
	}
	return Value{Object: t, Bytes: b}
}

type bench struct {
	t     testing.TB
	ctx   context.Context
	store *Store
	c     *Collection
	clock *testclock.FakeClock
}

func start(t testing.TB, dir string) *bench {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	clock := testclock.NewFakeClock(time.Unix(1e9, 0))
	s, err := Open(ctx, Config{Dir: dir, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(); cancel() })
	return &bench{t, ctx, s, s.Collection(things), clock}
}

var things = CollectionConfig{Prefix: "/registry/things/", Codec: codec{}, Index: []string{"node"}}

func (b *bench) create(key string, pairs ...string) *Entry {
	b.t.Helper()
	e, err := b.c.Create(b.ctx, key, object(key, pairs...))
	if err != nil {
		b.t.Fatal(err)
	}
	return e
}

func (b *bench) update(e *Entry, pairs ...string) *Entry {
	b.t.Helper()
	n, err := b.c.Update(b.ctx, e.Key, e.Revision, object(e.Key, pairs...))
	if err != nil {
		b.t.Fatal(err)
	}
	return n
}

func (b *bench) delete(key string) *Entry {
	b.t.Helper()
	e, err := b.c.Delete(b.ctx, key, 0)
	if err != nil {
		b.t.Fatal(err)
	}
	return e
}

func (b *bench) list(o ListOptions) *Page {
	b.t.Helper()
	p, err := b.c.List(b.ctx, o)
	if err != nil {
		b.t.Fatal(err)
	}
	return p
}

func (b *bench) watch(o WatchOptions) *Watcher {
	b.t.Helper()
	w, err := b.c.Watch(b.ctx, o)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(w.Close)
	return w
}

// expect reads events until there are as many as wanted.
func (b *bench) expect(w *Watcher, want ...string) {
	b.t.Helper()
	var got []string
	for len(got) < len(want) {
		ctx, cancel := context.WithTimeout(b.ctx, 10*time.Second)
		events, err := w.Next(ctx)
		cancel()
		if err != nil {
			b.t.Fatalf("next after %q: %v", got, err)
		}
		for _, e := range events {
			s := e.Type.String()
			if e.Entry != nil {
				s += " " + e.Entry.Key
				if rv := e.Entry.Object.(*thing).ResourceVersion; rv != strconv.FormatInt(e.Revision, 10) {
					b.t.Errorf("%s: resourceVersion %s in an event of revision %d", s, rv, e.Revision)
				}
			}
			if e.InitialEnd {
				s += " initial"
			}
			got = append(got, s)
		}
	}
	if !reflect.DeepEqual(got, want) {
		b.t.Fatalf("events %q, want %q", got, want)
	}
}

func keys(p *Page) []string {
	k := []string{}
	for _, e := range p.Entries {
		k = append(k, e.Key)
	}
	return k
}

func same(t testing.TB, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestWrites(t *testing.T) {
	b := start(t, t.TempDir())
	value := object("a/x")
	e, err := b.c.Create(b.ctx, "a/x", value)
	if err != nil {
		t.Fatal(err)
	}
	if e.Object != value.Object {
		t.Error("the written object was decoded again")
	}
	same(t, value.Object.(*thing).ResourceVersion, strconv.FormatInt(e.Revision, 10))
	if got, err := b.c.Get(b.ctx, "a/x", 0); err != nil || got != e {
		t.Errorf("get: %v %v", got, err)
	}
	if _, err := b.c.Create(b.ctx, "a/x", object("a/x")); !errors.Is(err, ErrExists) {
		t.Errorf("create again: %v", err)
	}
	next := b.update(e, "l=1")
	same(t, next.Revision, e.Revision+1)
	var conflict *ConflictError
	if _, err := b.c.Update(b.ctx, "a/x", e.Revision, object("a/x")); !errors.Is(err, ErrConflict) || !errors.As(err, &conflict) || conflict.Current != next.Revision {
		t.Errorf("stale update: %v", err)
	}
	if _, err := b.c.Update(b.ctx, "a/y", 5, object("a/y")); !errors.Is(err, ErrNotFound) {
		t.Errorf("update of nothing: %v", err)
	}
	if _, err := b.c.Delete(b.ctx, "a/x", e.Revision); !errors.Is(err, ErrConflict) {
		t.Errorf("stale delete: %v", err)
	}
	gone := b.delete("a/x")
	same(t, gone.Revision, next.Revision+1)
	same(t, gone.Object.(*thing).ResourceVersion, strconv.FormatInt(gone.Revision, 10))
	same(t, gone.Object.(*thing).Labels["l"], "1")
	same(t, next.Object.(*thing).ResourceVersion, strconv.FormatInt(next.Revision, 10))
	if _, err := b.c.Delete(b.ctx, "a/x", 0); !errors.Is(err, ErrNotFound) {
		t.Errorf("delete of nothing: %v", err)
	}
	if _, err := b.c.Get(b.ctx, "a/x", 0); !errors.Is(err, ErrNotFound) {
		t.Errorf("get of nothing: %v", err)
	}
	if _, err := b.c.Create(b.ctx, "a/big", Value{Object: object("a/big").Object, Bytes: make([]byte, 16<<20)}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("create of 16 MiB: %v", err)
	}
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	b := start(t, dir)
	e := b.create("a/x", "l=1")
	b.create("a/y")
	b.delete("a/y")
	rev := b.store.Revision()
	b.store.Close()
	b = start(t, dir)
	got, err := b.c.Get(b.ctx, "a/x", 0)
	if err != nil {
		t.Fatal(err)
	}
	same(t, got.Revision, e.Revision)
	same(t, got.Labels(), labels.Set{"l": "1"})
	same(t, b.store.Revision(), rev)
	same(t, got.Object.(*thing).ResourceVersion, strconv.FormatInt(e.Revision, 10))
}

func TestListMatches(t *testing.T) {
	b := start(t, t.TempDir())
	x := b.create("a/x", "l=1", "node@n1")
	b.create("b/y", "l=2", "node@n1")
	b.create("b/z", "l=1", "node@n2")
	b.delete("a/x")
	now := b.store.Revision()

	p := b.list(ListOptions{})
	same(t, keys(p), []string{"b/y", "b/z"})
	same(t, p.Revision, now)
	p = b.list(ListOptions{Match: Exact, Revision: x.Revision})
	same(t, keys(p), []string{"a/x"})
	same(t, p.Revision, x.Revision)
	same(t, p.Entries[0], x)
	same(t, keys(b.list(ListOptions{Match: NotOlderThan, Revision: x.Revision})), []string{"b/y", "b/z"})
	same(t, keys(b.list(ListOptions{Match: Any, Prefix: "b/"})), []string{"b/y", "b/z"})
	same(t, keys(b.list(ListOptions{Prefix: "a/"})), []string{})
	same(t, keys(b.list(ListOptions{Labels: labels.SelectorFromSet(labels.Set{"l": "1"})})), []string{"b/z"})
	same(t, keys(b.list(ListOptions{Fields: fields.OneTermEqualSelector("node", "n1")})), []string{"b/y"})
	same(t, keys(b.list(ListOptions{Fields: fields.OneTermEqualSelector("metadata.name", "z")})), []string{"b/z"})
	same(t, keys(b.list(ListOptions{Prefix: "b/", Fields: fields.OneTermEqualSelector("metadata.name", "y")})), []string{"b/y"})
	same(t, keys(b.list(ListOptions{Prefix: "c/", Fields: fields.OneTermEqualSelector("node", "n1")})), []string{})

	done := make(chan error)
	go func() {
		_, err := b.c.List(b.ctx, ListOptions{Match: NotOlderThan, Revision: now + 10})
		done <- err
	}()
	for !b.clock.HasWaiters() {
		time.Sleep(time.Millisecond)
	}
	var err error
	for wait := true; wait; {
		b.clock.Step(time.Second)
		select {
		case err = <-done:
			wait = false
		case <-time.After(time.Millisecond):
		}
	}
	if !errors.Is(err, ErrFutureRevision) {
		t.Errorf("list in the future: %v", err)
	}
}

func TestPaging(t *testing.T) {
	b := start(t, t.TempDir())
	for i := range 10 {
		b.create(fmt.Sprintf("a/%d", i), "l="+strconv.Itoa(i%2))
	}
	b.create("b/0")
	for _, prefix := range []string{"", "a/"} {
		p := b.list(ListOptions{Prefix: prefix, Limit: 4})
		rev := p.Revision
		total := int64(10)
		if prefix == "" {
			total = 11
		}
		same(t, *p.Remaining, total-4)
		b.create("a/15") // between the pages: must not be seen
		b.delete("a/5")
		p2 := b.list(ListOptions{Prefix: prefix, Limit: 4, Continue: p.Continue})
		same(t, keys(p2), []string{"a/4", "a/5", "a/6", "a/7"})
		same(t, p2.Revision, rev)
		p3 := b.list(ListOptions{Prefix: prefix, Continue: p2.Continue})
		same(t, int64(len(p3.Entries)), total-8)
		same(t, p3.Continue, "")
		same(t, p3.Remaining == nil, true)
		b.delete("a/15")
		b.create("a/5", "l=1")
	}
	p := b.list(ListOptions{Prefix: "a/", Limit: 2, Labels: labels.SelectorFromSet(labels.Set{"l": "1"})})
	same(t, keys(p), []string{"a/1", "a/3"})
	same(t, p.Remaining == nil, true)
	p = b.list(ListOptions{Prefix: "a/", Limit: 3, Continue: p.Continue, Labels: labels.SelectorFromSet(labels.Set{"l": "1"})})
	same(t, keys(p), []string{"a/5", "a/7", "a/9"})

	for _, bad := range []string{"%", "e30", "bm90IGpzb24", "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MCwic3RhcnQiOiJhIn0"} {
		if _, err := b.c.List(b.ctx, ListOptions{Continue: bad}); !errors.Is(err, ErrBadContinue) {
			t.Errorf("continue %q: %v", bad, err)
		}
	}
}

// A past revision is served from the history, then from etcd, and when it is
// compacted the list can be resumed.
func TestPagingBeyondHistory(t *testing.T) {
	b := start(t, t.TempDir())
	config := things
	config.Prefix, config.History = "/registry/short/", 16
	b.c = b.store.Collection(config)
	for i := range 10 {
		b.create(fmt.Sprintf("a/%d", i))
	}
	p := b.list(ListOptions{Limit: 4})
	e := b.create("a/x")
	for range 600 {
		e = b.update(e)
	}
	if b.c.history.base <= p.Revision {
		t.Fatalf("the history reaches back to %d", b.c.history.base)
	}
	b.c.paged = nil
	p2 := b.list(ListOptions{Limit: 4, Continue: p.Continue})
	same(t, keys(p2), []string{"a/4", "a/5", "a/6", "a/7"})
	same(t, len(b.list(ListOptions{Match: Exact, Revision: p.Revision}).Entries), 10)

	b.c.paged = nil
	if err := b.store.Compact(b.ctx, b.store.Revision()); err != nil {
		t.Fatal(err)
	}
	if _, err := b.c.List(b.ctx, ListOptions{Match: Exact, Revision: p.Revision}); !errors.Is(err, ErrExpired) {
		t.Errorf("exact list: %v", err)
	}
	_, err := b.c.List(b.ctx, ListOptions{Limit: 4, Continue: p2.Continue})
	var expired *ExpiredError
	if !errors.Is(err, ErrExpired) || !errors.As(err, &expired) {
		t.Fatalf("next page: %v", err)
	}
	p3 := b.list(ListOptions{Continue: expired.Continue})
	same(t, keys(p3), []string{"a/8", "a/9", "a/x"})
	same(t, p3.Revision, b.store.Revision())
	if _, err := b.c.Watch(b.ctx, WatchOptions{Since: p.Revision}); !errors.Is(err, ErrExpired) {
		t.Errorf("watch: %v", err)
	}
}

func TestWatch(t *testing.T) {
	b := start(t, t.TempDir())
	x := b.create("a/x", "l=1", "node@n1")
	b.create("b/y", "l=2")

	all := b.watch(WatchOptions{})
	since := b.watch(WatchOptions{Since: x.Revision})
	initial := b.watch(WatchOptions{Initial: true, Bookmarks: true})
	inB := b.watch(WatchOptions{Prefix: "b/", Since: x.Revision})
	named := b.watch(WatchOptions{Prefix: "a/", Fields: fields.OneTermEqualSelector("metadata.name", "x"), Initial: true})
	one := b.watch(WatchOptions{Labels: labels.SelectorFromSet(labels.Set{"l": "1"}), Initial: true})
	n1 := b.watch(WatchOptions{Fields: fields.OneTermEqualSelector("node", "n1"), Initial: true, Bookmarks: true})
	n2 := b.watch(WatchOptions{Fields: fields.OneTermEqualSelector("node", "n2")})

	x = b.update(x, "l=2", "node@n2")
	b.update(x, "l=1", "node@n2")
	b.delete("b/y")
	b.delete("a/x")

	b.expect(all, "MODIFIED a/x", "MODIFIED a/x", "DELETED b/y", "DELETED a/x")
	b.expect(since, "ADDED b/y", "MODIFIED a/x", "MODIFIED a/x", "DELETED b/y", "DELETED a/x")
	b.expect(initial, "ADDED a/x", "ADDED b/y", "BOOKMARK initial", "MODIFIED a/x", "MODIFIED a/x", "DELETED b/y", "DELETED a/x")
	b.expect(inB, "ADDED b/y", "DELETED b/y")
	b.expect(named, "ADDED a/x", "MODIFIED a/x", "MODIFIED a/x", "DELETED a/x")
	b.expect(one, "ADDED a/x", "DELETED a/x", "ADDED a/x", "DELETED a/x")
	b.expect(n1, "ADDED a/x", "BOOKMARK initial", "DELETED a/x")
	b.expect(n2, "ADDED a/x", "MODIFIED a/x", "DELETED a/x")

	ctx, cancel := context.WithTimeout(b.ctx, 20*time.Millisecond)
	defer cancel()
	for name, w := range map[string]*Watcher{"all": all, "b": inB, "n1": n1} {
		if got, err := w.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: more: %v %v", name, got, err)
		}
	}
	n1.Close()
	if _, err := n1.Next(b.ctx); !errors.Is(err, ErrClosed) {
		t.Errorf("next after close: %v", err)
	}
	if len(b.c.narrow) != 3 { // namespace b, name x, node n2
		t.Errorf("%d narrow feeds", len(b.c.narrow))
	}
	b.store.Close()
	if _, err := all.Next(b.ctx); !errors.Is(err, ErrClosed) {
		t.Errorf("next after the store's close: %v", err)
	}
}

func TestBookmarks(t *testing.T) {
	b := start(t, t.TempDir())
	b.create("a/x")
	w := b.watch(WatchOptions{Bookmarks: true, Prefix: "other/"})
	e := b.create("a/y")
	got := make(chan Event)
	go func() {
		events, err := w.Next(b.ctx)
		if err != nil || len(events) != 1 {
			t.Error(events, err)
		}
		got <- events[0]
	}()
	b.clock.Step(bookmarkEvery)
	event := <-got
	same(t, event.Type, Bookmark)
	same(t, event.Revision, e.Revision)
	same(t, w.Revision(), e.Revision)
}

func TestSlowWatcher(t *testing.T) {
	b := start(t, t.TempDir())
	config := things
	config.Prefix, config.History = "/registry/short/", 16
	b.c = b.store.Collection(config)
	e := b.create("a/x")
	slow, quick := b.watch(WatchOptions{}), b.watch(WatchOptions{})
	for range 30 {
		e = b.update(e)
		b.expect(quick, "MODIFIED a/x")
	}
	if _, err := slow.Next(b.ctx); !errors.Is(err, ErrSlow) {
		t.Errorf("slow watcher: %v", err)
	}
	b.update(e)
	b.expect(quick, "MODIFIED a/x")
}

// History is kept for the retention at least, and no longer than twice that.
func TestCompaction(t *testing.T) {
	b := start(t, t.TempDir())
	e := b.create("a/x")
	first := e.Revision
	e = b.update(e)
	b.c.history.base = e.Revision // as if the cache had forgotten
	past := func() error {
		_, err := b.c.List(b.ctx, ListOptions{Match: Exact, Revision: first})
		return err
	}
	step := func(d time.Duration) {
		for range d / bookmarkEvery {
			b.clock.Step(bookmarkEvery)
			time.Sleep(time.Millisecond) // lets the housekeeper take the tick
		}
	}
	step(5 * time.Minute)
	if err := past(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for !errors.Is(past(), ErrExpired) && time.Now().Before(deadline) {
		step(5 * time.Minute)
	}
	if err := past(); !errors.Is(err, ErrExpired) {
		t.Errorf("after the retention: %v", err)
	}
}

func TestEncoded(t *testing.T) {
	b := start(t, t.TempDir())
	e := b.create("a/x")
	calls := 0
	encode := func(runtime.Object) ([]byte, error) { calls++; return []byte{byte(calls)}, nil }
	for range 3 {
		got, err := e.Encoded("json", encode)
		same(t, err, nil)
		same(t, got, []byte{1})
	}
	if got, _ := e.Encoded("protobuf", encode); got[0] != 2 {
		t.Error(got)
	}
	if _, err := e.Encoded("bad", func(runtime.Object) ([]byte, error) { return nil, errors.New("no") }); err == nil {
		t.Error("no error")
	}
}

func TestUnreadable(t *testing.T) {
	b := start(t, t.TempDir())
	b.create("a/x")
	if _, err := b.store.backend.Put(b.ctx, "/registry/things/a/bad", []byte("not json"), 0); err != nil {
		t.Fatal(err)
	}
	b.create("a/y")
	same(t, keys(b.list(ListOptions{})), []string{"a/x", "a/y"})
}

func TestDrop(t *testing.T) {
	b := start(t, t.TempDir())
	b.create("a/x")
	w := b.watch(WatchOptions{})
	b.store.Drop(things.Prefix)
	if _, err := w.Next(b.ctx); !errors.Is(err, ErrExpired) {
		t.Errorf("next: %v", err)
	}
	if _, err := b.c.Get(b.ctx, "a/x", 0); !errors.Is(err, ErrClosed) {
		t.Errorf("get from what was dropped: %v", err)
	}
	b.c = b.store.Collection(things)
	same(t, keys(b.list(ListOptions{})), []string{"a/x"})
	b.create("a/y")
}
