package store

import (
	"sort"
	"sync/atomic"
	"time"
)

// change is one write as the cache saw it.
type change struct {
	entry    *Entry // the state after; nil if deleted
	previous *Entry // the state before; nil if created
	revision int64
	at       time.Time

	departed atomic.Pointer[Entry]
}

// key of the entry that changed.
func (ch *change) key() string {
	if ch.entry != nil {
		return ch.entry.Key
	}
	return ch.previous.Key
}

// gone is the previous state stamped with the change's revision, as the API
// shows an object that was deleted or ceased to match. It is made once.
func (ch *change) gone() *Entry {
	if e := ch.departed.Load(); e != nil {
		return e
	}
	p := ch.previous
	e := &Entry{Key: p.Key, Object: p.codec.Restamped(p.Object, ch.revision), Revision: ch.revision, codec: p.codec}
	if !ch.departed.CompareAndSwap(nil, e) {
		return ch.departed.Load()
	}
	return e
}

// chunk is a piece of a feed. The pump writes, any number of watchers read
// without a lock: an item is written before n says that it is there, and never
// again.
type chunk struct {
	first uint64 // sequence number of items[0]
	n     atomic.Int32
	items []*change
	next  atomic.Pointer[chunk]
	// weight is the stored size of the states that the items replaced. Guarded
	// by the collection's mu; counted in the main feed only.
	weight int
}

func (k *chunk) newest() *change { return k.items[k.n.Load()-1] }

// feed is a sequence of changes and the watchers who follow it. A collection has
// one of everything, and one for each name, namespace or indexed value that
// somebody watches. Its fields are guarded by the collection's mu; head and the
// chunks are read without.
type feed struct {
	last     *chunk
	head     atomic.Uint64 // sequence number of the next change
	watchers []*Watcher
	woken    time.Time
	armed    bool
	timer    *time.Timer
}

// Many watchers are woken together, and the more there are the less often, so
// that a burst of writes costs each of them one wake-up and one network write.
// The first write after a pause always goes out at once.
const (
	wakeSpread = 40 * time.Microsecond // for each watcher
	wakeMax    = 5 * time.Millisecond
)

const (
	smallestChunk = 8
	largestChunk  = 128
)

// append adds a change, and returns the chunk that it had to add for it, if any.
func (f *feed) append(ch *change) (grown *chunk) {
	if size := len(f.last.items); int(f.last.n.Load()) == size {
		grown = &chunk{first: f.head.Load(), items: make([]*change, min(2*size, largestChunk))}
		f.last.next.Store(grown)
		f.last = grown
	}
	n := f.last.n.Load()
	f.last.items[n] = ch
	f.head.Add(1) // first: a cursor is never beyond the head
	f.last.n.Store(n + 1)
	return grown
}

// end is the cursor behind the newest change.
func (f *feed) end() cursor { return cursor{f.last, f.last.n.Load()} }

func newFeed() *feed { return &feed{last: &chunk{items: make([]*change, smallestChunk)}} }

// notify wakes the sleeping watchers, now or soon. This is pacing, not policy:
// it goes by the real time, whatever the store's clock says.
func (f *feed) notify(c *Collection) {
	now := time.Now()
	gap := min(time.Duration(len(f.watchers))*wakeSpread, wakeMax)
	if since := now.Sub(f.woken); since >= gap || since < 0 {
		f.wake(now)
		return
	} else if !f.armed {
		f.armed = true
		if f.timer == nil {
			f.timer = time.AfterFunc(gap-since, func() {
				c.mu.Lock()
				f.armed = false
				f.wake(time.Now())
				c.mu.Unlock()
			})
		} else {
			f.timer.Reset(gap - since)
		}
	}
}

func (f *feed) wake(now time.Time) {
	f.woken = now
	for _, w := range f.watchers {
		w.rouse()
	}
}

func (f *feed) remove(w *Watcher) {
	for i := range f.watchers {
		if f.watchers[i] == w {
			last := len(f.watchers) - 1
			f.watchers[i] = f.watchers[last]
			f.watchers[last] = nil
			f.watchers = f.watchers[:last]
			return
		}
	}
}

// cursor is a place in a feed: before item at of the chunk.
type cursor struct {
	chunk *chunk
	at    int32
}

// next returns the change at the cursor and moves on, or nil at the end.
func (c *cursor) next() *change {
	for {
		if c.at < c.chunk.n.Load() {
			ch := c.chunk.items[c.at]
			c.at++
			return ch
		}
		if int(c.at) < len(c.chunk.items) {
			return nil
		}
		next := c.chunk.next.Load()
		if next == nil {
			return nil
		}
		c.chunk, c.at = next, 0
	}
}

// more tells whether next would return a change.
func (c *cursor) more() bool {
	probe := *c
	return probe.next() != nil
}

// sequence is the cursor's place counted from the feed's beginning.
func (c *cursor) sequence() uint64 { return c.chunk.first + uint64(c.at) }

// history is the chunks of the main feed that are kept, oldest first. Guarded by
// the collection's mu.
type history struct {
	chunks []*chunk
	count  int
	weight int // the chunks' sum
	// base: every change after this revision is in the chunks.
	base int64
}

const (
	// freshFor: events younger than this are kept if the limit allows, so that
	// a client may come back to them. (upstream's eventFreshDuration)
	freshFor = 75 * time.Second
	// keepAtLeast events are kept however old they are.
	keepAtLeast = 128
	// heavy is the weight, in stored bytes, above which events are kept for
	// briefly only. In memory a replaced state takes some four times as much.
	heavy   = 4 << 20
	briefly = 10 * time.Second
	// heaviest is kept at all, however young: some seconds of writes at full speed.
	heaviest = 24 << 20
)

// weigh counts what the newest change of the newest chunk keeps alive.
func (h *history) weigh(k *chunk, ch *change) {
	h.count++
	if ch.previous != nil {
		k.weight += ch.previous.size
		h.weight += ch.previous.size
	}
}

// trim forgets chunks from the oldest on; the newest chunk always stays. It
// tells the weight of what it forgot.
func (h *history) trim(now time.Time, limit int) (lost int) {
	drop, before := 0, h.weight
	for drop < len(h.chunks)-1 {
		k := h.chunks[drop]
		n := int(k.n.Load())
		if n > 0 {
			newest := k.newest()
			tooMany := h.count > limit
			fresh := freshFor
			if h.weight > heavy {
				fresh = briefly
			}
			stale := h.count-n >= keepAtLeast && (now.Sub(newest.at) > fresh || h.weight > heaviest)
			if !tooMany && !stale {
				break
			}
			h.base = newest.revision
		}
		h.count -= n
		h.weight -= k.weight
		drop++
	}
	if drop > 0 {
		h.chunks = append([]*chunk(nil), h.chunks[drop:]...)
	}
	return before - h.weight
}

// past are the replaced states in the chunks that are older than briefly.
func (h *history) past(now time.Time) (out []*Entry) {
	for _, k := range h.chunks {
		for _, ch := range k.items[:k.n.Load()] {
			if now.Sub(ch.at) < briefly {
				return out
			}
			if ch.previous != nil {
				out = append(out, ch.previous)
			}
			if gone := ch.departed.Load(); gone != nil {
				out = append(out, gone)
			}
		}
	}
	return out
}

// after is the cursor before the first change later than revision, which must
// not be below base.
func (h *history) after(revision int64) (cursor, bool) {
	i := sort.Search(len(h.chunks), func(i int) bool {
		k := h.chunks[i]
		return k.n.Load() > 0 && k.newest().revision > revision
	})
	if i == len(h.chunks) {
		return cursor{}, false
	}
	k := h.chunks[i]
	at := sort.Search(int(k.n.Load()), func(j int) bool { return k.items[j].revision > revision })
	return cursor{k, int32(at)}, true
}
