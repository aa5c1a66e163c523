package store

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
)

func TestFormsAge(t *testing.T) {
	e := &Entry{}
	made := 0
	read := func(name string) {
		t.Helper()
		if _, err := e.Encoded(name, func(runtime.Object) ([]byte, error) { made++; return make([]byte, 64), nil }); err != nil {
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
