package cluster

import (
	"runtime"
	"testing"
	"time"
)

func TestGarbagePercent(t *testing.T) {
	for _, test := range []struct {
		live, roots uint64
		since       time.Duration
		want        int
	}{
		{0, 1, 0, 1200},                           // the start
		{20 << 20, 5 << 20, time.Second, 212},     // a burst over a small store
		{20 << 20, 5 << 20, time.Minute, 84},      // at rest
		{100 << 20, 5 << 20, time.Second, 69},     //
		{200 << 20, 0, time.Second, 50},           // a full store
		{200 << 20, 0, time.Hour, 50},             //
		{4 << 30, 64 << 20, time.Millisecond, 49}, // a very full one: the room never shrinks below half
	} {
		if got := garbagePercent(heapState{test.live, test.roots, test.since}); got != test.want {
			t.Errorf("%d MiB alive, %v since: %d %%, want %d", test.live>>20, test.since, got, test.want)
		}
	}
}

// The collector calls back after each collection.
func TestPaceFollowsTheCollector(t *testing.T) {
	set := make(chan int, 1)
	newPace(func(percent int) { set <- percent })
	first := <-set
	ballast := make([]byte, 100<<20) // so that the next differs
	runtime.GC()
	if next := <-set; next >= first {
		t.Errorf("%d %%, and %d %% with %d MiB more alive", first, next, len(ballast)>>20)
	}
	runtime.KeepAlive(ballast)
}
