package cluster

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

// Go lets the heap double before it collects again. That suits neither end of what this process sees: with little in the store a
// burst of writes has the collector run twice a second for a tenth of the processor, and with much in it half of the
// memory is garbage, and the holes that it leaves. So the room for garbage is a constant and a part of what is alive.
const (
	busyRoom  = 48 << 20
	quietRoom = 16 << 20
	// quiet is the time between two collections from which on nobody is in a hurry.
	quiet = 2 * time.Second
)

// heapState is what one collection found.
type heapState struct {
	live  uint64        // bytes that are alive
	roots uint64        // bytes of stacks and globals, which GOGC counts with them
	since time.Duration // the collection before
}

// garbagePercent is the GOGC for the time until the next collection.
func garbagePercent(h heapState) int {
	room := uint64(busyRoom)
	if h.since > quiet {
		room = quietRoom
	}
	room = max(room+h.live/4, h.live/2)
	return int(room * 100 / max(h.live+h.roots, 4<<20))
}

// paceCollector sets the GOGC of this process after each collection, unless the environment says what it is to be.
var paceCollector = sync.OnceFunc(func() {
	if os.Getenv("GOGC") == "" {
		newPace(func(percent int) { debug.SetGCPercent(percent) })
	}
})

// pace is called back by the collector.
type pace struct {
	set     func(percent int)
	last    time.Time
	percent int
	samples []metrics.Sample
}

func newPace(set func(percent int)) *pace {
	p := &pace{set: set, last: time.Now(), samples: []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/globals:bytes"}, {Name: "/gc/scan/stack:bytes"}}}
	p.collected(0)
	return p
}

// collected runs after a collection, and sees to it that it runs after the next.
func (p *pace) collected(int) {
	metrics.Read(p.samples)
	now := time.Now()
	percent := garbagePercent(heapState{
		live: p.samples[0].Value.Uint64(), roots: p.samples[1].Value.Uint64() + p.samples[2].Value.Uint64(), since: now.Sub(p.last),
	})
	p.last = now
	if d := percent - p.percent; d > p.percent/8 || -d > p.percent/8 { // setting it stops the world for a moment
		p.percent = percent
		p.set(percent)
	}
	runtime.AddCleanup(new([64]byte), p.collected, 0)
}
