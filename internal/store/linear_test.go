package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"nau/internal/house/spent"
)

// Many writers, many watchers that come and go: each watcher must see exactly
// the changes that its scope has, in order, and a list plus the watch from its
// revision must be the same as the state.
func TestWatchersSeeExactlyTheHistory(t *testing.T) {
	b := start(t, t.TempDir())
	const writers, writes, names = 8, 150, 6
	scopes := []WatchOptions{
		{},
		{Prefix: "a/"},
		{Labels: labels.SelectorFromSet(labels.Set{"l": "1"})},
		{Fields: fields.OneTermEqualSelector("node", "n1")},
		{Prefix: "b/", Fields: fields.OneTermEqualSelector("metadata.name", "3")},
		{Prefix: "a/", Labels: labels.SelectorFromSet(labels.Set{"l": "0"}), Fields: fields.OneTermEqualSelector("node", "n0")},
	}
	b.create("z/last")
	reference := b.watch(WatchOptions{Since: b.store.Revision()})
	origin := b.store.Revision()

	type seen struct {
		scope  WatchOptions
		start  *Page
		events []Event
	}
	var mu sync.Mutex
	var all []*seen
	var observers, busy sync.WaitGroup
	var final atomic.Int64 // revision of the last write, once known
	follow := func(w *Watcher, s *seen) {
		defer w.Close()
		for {
			ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
			events, err := w.Next(ctx)
			cancel()
			if err != nil {
				t.Errorf("next: %v", err)
				return
			}
			for _, e := range events {
				if e.Type == Bookmark {
					if e.Revision == final.Load() {
						return
					}
					continue
				}
				s.events = append(s.events, e)
			}
		}
	}
	observe := func(scope WatchOptions) {
		s := &seen{scope: scope}
		s.start = b.list(ListOptions{Prefix: scope.Prefix, Labels: scope.Labels, Fields: scope.Fields, Match: Any})
		o := scope
		o.Since, o.Bookmarks = s.start.Revision, true
		w, err := b.c.Watch(b.ctx, o)
		if err != nil {
			t.Errorf("watch: %v", err)
			return
		}
		mu.Lock()
		all = append(all, s)
		mu.Unlock()
		observers.Go(func() { follow(w, s) })
	}
	for _, s := range scopes {
		observe(s)
	}
	for w := range writers {
		busy.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(w)))
			for i := range writes {
				key := fmt.Sprintf("%c/%d", 'a'+r.IntN(2), r.IntN(names))
				pairs := []string{fmt.Sprintf("l=%d", r.IntN(3)), fmt.Sprintf("node@n%d", r.IntN(3)), fmt.Sprintf("w=%d-%d", w, i)}
				e, err := b.c.Get(b.ctx, key, -1)
				switch {
				case errors.Is(err, ErrNotFound):
					_, err = b.c.Create(b.ctx, key, object(key, pairs...))
				case r.IntN(4) == 0:
					_, err = b.c.Delete(b.ctx, key, e.Revision)
				default:
					_, err = b.c.Update(b.ctx, key, e.Revision, object(key, pairs...))
				}
				if err != nil && !errors.Is(err, ErrConflict) && !errors.Is(err, ErrExists) && !errors.Is(err, ErrNotFound) {
					t.Errorf("write: %v", err)
				}
				if i%25 == 0 {
					observe(scopes[r.IntN(len(scopes))])
				}
			}
		})
	}
	busy.Wait()
	final.Store(b.store.Revision())
	var history []Event
	for b.store.Revision() > origin {
		events, err := reference.Next(b.ctx)
		if err != nil {
			t.Fatal(err)
		}
		history = append(history, events...)
		if history[len(history)-1].Revision == final.Load() {
			break
		}
	}
	if int64(len(history)) != final.Load()-origin {
		t.Fatalf("%d events between revisions %d and %d", len(history), origin, final.Load())
	}
	// A write outside every scope, so that each observer has progress to be told.
	b.create("z/end")
	final.Store(b.store.Revision())
	stop := make(chan struct{})
	go func() { // the last bookmark tells the observers to stop: none is sent before they know which it is, for none is sent twice
		for {
			select {
			case <-stop:
				return
			default:
				b.clock.Step(bookmarkEvery)
				runtime.Gosched()
			}
		}
	}()
	observers.Wait()
	close(stop)

	for i, s := range all {
		want := expected(history, s.scope, s.start.Revision)
		got := []string{}
		for _, e := range s.events {
			if e.Entry.Key != "z/end" {
				got = append(got, fmt.Sprint(e.Type, e.Entry.Key, e.Revision))
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("observer %d from %d:\n got %v\nwant %v", i, s.start.Revision, got, want)
		}
		if listed := stateAt(history, s.scope, s.start.Revision); !slices.Equal(listed, keysAt(s.start)) {
			t.Errorf("list %d at %d: %v, want %v", i, s.start.Revision, keysAt(s.start), listed)
		}
	}
	t.Logf("%d observers, %d changes", len(all), len(history))
}

func keysAt(p *Page) []string {
	got := []string{}
	for _, e := range p.Entries {
		if !strings.HasPrefix(e.Key, "z/") {
			got = append(got, fmt.Sprint(e.Key, e.Revision))
		}
	}
	return got
}

func matches(e *Entry, o WatchOptions) bool {
	return e != nil && strings.HasPrefix(e.Key, o.Prefix) && e.selects(o.Labels, o.Fields)
}

// stateAt folds the whole history up to a revision.
func stateAt(history []Event, o WatchOptions, revision int64) []string {
	state := map[string]*Entry{}
	for _, e := range history {
		if e.Revision > revision {
			break
		}
		if e.Type == Deleted {
			delete(state, e.Entry.Key)
		} else {
			state[e.Entry.Key] = e.Entry
		}
	}
	var names []string
	for k := range state {
		names = append(names, k)
	}
	sort.Strings(names)
	got := []string{}
	for _, k := range names {
		if matches(state[k], o) {
			got = append(got, fmt.Sprint(k, state[k].Revision))
		}
	}
	return got
}

// expected derives a scope's events from those of a watch on everything.
func expected(history []Event, o WatchOptions, since int64) []string {
	state := map[string]*Entry{}
	want := []string{}
	for _, e := range history {
		before, after := state[e.Entry.Key], e.Entry
		if e.Type == Deleted {
			after = nil
			delete(state, e.Entry.Key)
		} else {
			state[e.Entry.Key] = e.Entry
		}
		was, is := matches(before, o), matches(after, o)
		if e.Revision <= since || e.Entry.Key == "z/end" {
			continue
		}
		switch {
		case was && is:
			want = append(want, fmt.Sprint(Modified, e.Entry.Key, e.Revision))
		case is:
			want = append(want, fmt.Sprint(Added, e.Entry.Key, e.Revision))
		case was:
			want = append(want, fmt.Sprint(Deleted, e.Entry.Key, e.Revision))
		}
	}
	return want
}

// register is a linearizable register with compare and swap: state is the
// revision, 0 if absent.
type call struct {
	op      string // get, create, update, delete
	expect  int64
	outcome string // ok, exists, conflict, absent
	result  int64
}

var register = porcupine.Model{
	Init: func() any { return int64(0) },
	Step: func(state, input, output any) (bool, any) {
		now, in, out := state.(int64), input.(call), output.(call)
		switch in.op {
		case "get":
			return out.result == now, now
		case "create":
			if now != 0 {
				return out.outcome == "exists", now
			}
			return out.outcome == "ok", out.result
		case "update", "delete":
			switch {
			case now == 0:
				return out.outcome == "absent", now
			case now != in.expect:
				return out.outcome == "conflict", now
			case in.op == "delete":
				return out.outcome == "ok", int64(0)
			}
			return out.outcome == "ok", out.result
		}
		return false, now
	},
}

func TestLinearizable(t *testing.T) {
	b := start(t, t.TempDir())
	var mu sync.Mutex
	var operations []porcupine.Operation
	begin := time.Now()
	var wg sync.WaitGroup
	for client := range 6 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(2, uint64(client)))
			known := int64(1)
			for range 120 {
				in := call{op: []string{"get", "get", "create", "update", "update", "delete"}[r.IntN(6)], expect: known}
				called := time.Since(begin).Nanoseconds()
				var e *Entry
				var err error
				switch in.op {
				case "get":
					e, err = b.c.Get(b.ctx, "a/x", 0)
				case "create":
					e, err = b.c.Create(b.ctx, "a/x", object("a/x"))
				case "update":
					e, err = b.c.Update(b.ctx, "a/x", known, object("a/x", fmt.Sprintf("c=%d", client)))
				case "delete":
					e, err = b.c.Delete(b.ctx, "a/x", known)
				}
				returned := time.Since(begin).Nanoseconds()
				out := call{outcome: "ok"}
				switch {
				case errors.Is(err, ErrExists):
					out.outcome = "exists"
				case errors.Is(err, ErrConflict):
					out.outcome = "conflict"
				case errors.Is(err, ErrNotFound):
					out.outcome = "absent"
				case err != nil:
					t.Error(err)
				default:
					out.result = e.Revision
					if in.op != "delete" {
						known = e.Revision
					}
				}
				mu.Lock()
				operations = append(operations, porcupine.Operation{ClientId: client, Input: in, Call: called, Output: out, Return: returned})
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if result := porcupine.CheckOperationsTimeout(register, operations, time.Minute); result != porcupine.Ok {
		t.Errorf("history of %d operations: %v", len(operations), result)
	}
}

// A child process writes and tells each acknowledged key; it is killed without
// warning, and everything it told must be there.
func TestKill(t *testing.T) {
	if dir := os.Getenv("STORE_TEST_KILL"); dir != "" {
		writeUntilKilled(t, dir)
		return
	}
	dir := t.TempDir()
	acknowledged := map[string]bool{}
	for round := range 3 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKill$")
		cmd.Env = append(os.Environ(), "STORE_TEST_KILL="+dir, fmt.Sprintf("STORE_TEST_ROUND=%d", round))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		n := 0
		for lines.Scan() {
			if key, ok := strings.CutPrefix(lines.Text(), "ack "); ok {
				acknowledged[key] = true
				if n++; n == 500 {
					cmd.Process.Kill()
				}
			}
		}
		cmd.Wait()
		if n < 500 {
			t.Fatalf("round %d: %d acknowledged", round, n)
		}
	}
	b := start(t, dir)
	for key := range acknowledged {
		if _, err := b.c.Get(b.ctx, key, 0); err != nil {
			t.Errorf("lost: %v", err)
		}
	}
	t.Logf("%d acknowledged, %d stored", len(acknowledged), len(b.list(ListOptions{}).Entries))
}

func writeUntilKilled(t *testing.T, dir string) {
	b := start(t, dir)
	var wg sync.WaitGroup
	var mu sync.Mutex
	for w := range 8 {
		wg.Go(func() {
			for i := range 1_000_000 {
				key := fmt.Sprintf("a/%s-%d-%d", os.Getenv("STORE_TEST_ROUND"), w, i)
				if _, err := b.c.Create(b.ctx, key, object(key)); err != nil {
					return
				}
				mu.Lock()
				fmt.Printf("ack %s\n", key)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

func FuzzContinue(f *testing.F) {
	f.Add(encodeContinue("a/x", 7))
	f.Add(encodeContinue("x", newest))
	f.Add("")
	f.Add("eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6NSwic3RhcnQiOiIuLi8uLi9hIn0")
	f.Fuzz(func(t *testing.T, s string) {
		var token token
		var err error
		spent.On(t, len(s), func() { token, err = decodeContinue(s) })
		if err != nil {
			if !errors.Is(err, ErrBadContinue) {
				t.Errorf("%q: %v", s, err)
			}
			return
		}
		again, err := decodeContinue(encodeContinue(strings.TrimSuffix(token.Start, "\x00"), token.Revision))
		if err != nil || again.Revision != token.Revision {
			t.Errorf("%q: %+v then %+v %v", s, token, again, err)
		}
	})
}
