package store

import (
	"strings"
	"testing"
	"time"

	apiruntime "k8s.io/apimachinery/pkg/runtime"
	testclock "k8s.io/utils/clock/testing"
)

func TestFormsAge(t *testing.T) {
	e := &Entry{}
	made := 0
	read := func(name string) {
		t.Helper()
		if _, err := e.Encoded(name, func(apiruntime.Object) ([]byte, error) { made++; return make([]byte, 64), nil }); err != nil {
			t.Fatal(err)
		}
	}
	read("a")
	read("a")
	read("b") // once only
	if made != 2 {
		t.Fatalf("%d encodings for two forms", made)
	}
	if freed := e.age(false); freed != 64 || e.encoded("b") != nil {
		t.Errorf("a form read once stayed: freed %d", freed)
	}
	read("a")
	if made != 2 {
		t.Error("a form that is read went")
	}
	e.age(false)
	if freed := e.age(false); freed != 64 {
		t.Errorf("a form that nobody reads stayed: freed %d", freed)
	}
	read("a")
	read("a")
	if freed := e.age(true); freed != 64 || e.forms.Load() != nil {
		t.Errorf("a form of a replaced state stayed: freed %d", freed)
	}
}

func TestHeavyHistoryIsShort(t *testing.T) {
	start := time.Unix(0, 0)
	fill := func(size int) *history {
		f := newFeed()
		h := &history{chunks: []*chunk{f.last}}
		for i := range 2048 {
			ch := &change{previous: &Entry{size: size}, revision: int64(i + 1), at: start}
			if grown := f.append(ch); grown != nil {
				h.chunks = append(h.chunks, grown)
			}
			h.weigh(f.last, ch)
		}
		return h
	}
	h := fill(100)
	if lost := h.trim(start.Add(2*briefly), defaultHistory); lost != 0 || h.base != 0 {
		t.Errorf("a light ring forgot %d bytes up to revision %d", lost, h.base)
	}
	h = fill(4096)
	if lost := h.trim(start.Add(briefly), defaultHistory); lost != 0 {
		t.Errorf("young events went: %d bytes", lost)
	}
	lost := h.trim(start.Add(2*briefly), defaultHistory)
	if h.weight > heavy || lost == 0 || h.weight+lost != 2048*4096 {
		t.Errorf("a heavy ring keeps %d bytes, lost %d", h.weight, lost)
	}
	if past := h.past(start.Add(2 * briefly)); len(past)*4096 != h.weight {
		t.Errorf("%d replaced states in %d bytes", len(past), h.weight)
	}
}

func TestHeaviestHistoryIsBounded(t *testing.T) {
	start := time.Unix(0, 0)
	f := newFeed()
	h := &history{chunks: []*chunk{f.last}}
	for i := range 2048 {
		ch := &change{previous: &Entry{size: 64 << 10}, revision: int64(i + 1), at: start}
		if grown := f.append(ch); grown != nil {
			h.chunks = append(h.chunks, grown)
			h.trim(start, defaultHistory)
		}
		h.weigh(f.last, ch)
	}
	if h.weight > heaviest+largestChunk*64<<10 || h.count < keepAtLeast {
		t.Errorf("of events of one moment %d are kept, %d bytes", h.count, h.weight)
	}
	if h.base == 0 {
		t.Error("nothing was forgotten, but not all is there")
	}
}

// reliefClock tells when a relief is waited for.
type reliefClock struct {
	*testclock.FakeClock
	armed chan struct{}
}

func (c *reliefClock) After(d time.Duration) <-chan time.Time {
	ch := c.FakeClock.After(d)
	if d > briefly {
		c.armed <- struct{}{}
	}
	return ch
}

// What heavy writes replaced goes when it is old, without a further write and before the next turn of the house.
func TestReliefAfterHeavyWrites(t *testing.T) {
	clock := &reliefClock{testclock.NewFakeClock(time.Unix(1e9, 0)), make(chan struct{}, 8)}
	spared := make(chan struct{}, 1)
	s, err := Open(t.Context(), Config{Dir: t.TempDir(), Clock: clock, Spare: func() { spared <- struct{}{} }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	b := &bench{t, t.Context(), s, s.Collection(things), clock.FakeClock}
	e := b.create("a", "@x="+strings.Repeat("x", 20<<10))
	for range 300 {
		e = b.update(e, "@x="+strings.Repeat("x", 20<<10))
	}
	before := b.c.history.weight
	<-clock.armed
	clock.Step(briefly + time.Second)
	<-spared
	b.c.mu.RLock()
	defer b.c.mu.RUnlock()
	if after := b.c.history.weight; before < 2*heavy || after > before*2/3 {
		t.Errorf("the history weighs %d bytes, before the relief %d", after, before)
	}
}
