package apiserver

import (
	"context"
	"math"
	"sync"
	"time"

	"nau/internal/apiserver/identity"
)

// Requests in flight hold places, reads and writes apart, and large bodies hold several, so that what is being worked on takes
// bounded memory. Who has fewest places is served first: somebody with a thousand requests under way makes their own wait, not
// those of others. (The idea is upstream's API priority and fairness, KEP-1040; the levels are two: the system and all tenants.)
const (
	defaultReads  = 400
	defaultWrites = 200
	// placeBytes of a body are held by each further place.
	placeBytes = 64 << 10
	// queueLength bounds the requests of one tenant that wait.
	queueLength = 256
	// patience is how long a request waits for room before it is told to come back.
	patience = 15 * time.Second
	// longRunning bounds the watches, logs that are followed, execs and the like that one tenant has open.
	longRunningMost = 1000
)

// gate shares places among tenants.
type gate struct {
	most int // that one tenant may hold; the system's own have no such bound

	mu      sync.Mutex
	free    int
	waiting int // tickets in all queues
	turn    uint64
	tenants map[string]*holder // who holds or waits
}

// holder is one of those who share. Guarded by the gate's mu.
type holder struct {
	most  int
	held  int
	queue []*ticket
}

// ticket is a request that waits.
type ticket struct {
	width   int
	turn    uint64
	granted chan struct{}
}

func newGate(places int) *gate {
	return &gate{most: max(1, places/2), free: places, tenants: map[string]*holder{}}
}

// enter waits for width places. It tells how they are given back, or not ok: the tenant has too many who wait, or waited too long.
func (g *gate) enter(ctx context.Context, tenant string, system bool, width int) (leave func(), ok bool) {
	g.mu.Lock()
	h := g.tenants[tenant]
	if h == nil {
		h = &holder{most: g.most}
		if system {
			h.most = math.MaxInt
		}
		g.tenants[tenant] = h
	}
	width = min(width, g.most)
	leave = func() { g.leave(tenant, h, width) }
	if g.waiting == 0 && width <= g.free && h.held+width <= h.most {
		h.held += width
		g.free -= width
		g.mu.Unlock()
		return leave, true
	}
	if len(h.queue) >= queueLength {
		g.mu.Unlock()
		return nil, false
	}
	g.turn++
	t := &ticket{width, g.turn, make(chan struct{})}
	h.queue = append(h.queue, t)
	g.waiting++
	g.grant()
	g.mu.Unlock()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-t.granted:
		return leave, true
	case <-timer.C:
	case <-ctx.Done():
	}
	if g.withdraw(tenant, h, t) {
		return nil, false
	}
	return leave, true // granted at the last moment
}

func (g *gate) leave(tenant string, h *holder, width int) {
	g.mu.Lock()
	h.held -= width
	g.free += width
	g.tidy(tenant, h)
	if g.waiting > 0 {
		g.grant()
	}
	g.mu.Unlock()
}

// withdraw takes a ticket back; not if it has been granted.
func (g *gate) withdraw(tenant string, h *holder, t *ticket) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range h.queue {
		if h.queue[i] == t {
			h.queue = append(h.queue[:i], h.queue[i+1:]...)
			g.waiting--
			g.tidy(tenant, h)
			g.grant() // it may have stood before narrower ones
			return true
		}
	}
	return false
}

func (g *gate) tidy(tenant string, h *holder) {
	if h.held == 0 && len(h.queue) == 0 && g.tenants[tenant] == h {
		delete(g.tenants, tenant)
	}
}

// grant hands out what is free.
func (g *gate) grant() {
	for g.waiting > 0 {
		h := foremost(g.tenants)
		if h == nil || h.queue[0].width > g.free {
			return // nobody passes by who is too wide: they would wait for ever
		}
		t := h.queue[0]
		h.queue = h.queue[1:]
		h.held += t.width
		g.free -= t.width
		g.waiting--
		close(t.granted)
	}
}

// foremost is who is served next: of those who wait and may have more, who holds least, and has waited longest.
func foremost(tenants map[string]*holder) (best *holder) {
	for _, h := range tenants {
		if len(h.queue) == 0 || h.held+h.queue[0].width > h.most {
			continue
		}
		if best == nil || h.held < best.held || h.held == best.held && h.queue[0].turn < best.queue[0].turn {
			best = h
		}
	}
	return best
}

// width is how many places a request takes; unknown is a body of which the length is not told.
func width(contentLength, unknown int64) int {
	if contentLength < 0 {
		contentLength = unknown
	}
	return 1 + int(contentLength/placeBytes)
}

// share is the name under which a user shares with others, and whether it is one of the system's own.
func share(u *identity.User) (name string, system bool) {
	if t := u.Tenant(); t != "" {
		return t, false
	}
	return u.Name, true
}

// tally counts what each tenant has open.
type tally struct {
	most int

	mu   sync.Mutex
	open map[string]int
}

func newTally(most int) *tally { return &tally{most: most, open: map[string]int{}} }

func (t *tally) enter(tenant string) (leave func(), ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open[tenant] >= t.most {
		return nil, false
	}
	t.open[tenant]++
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.open[tenant]--; t.open[tenant] == 0 {
			delete(t.open, tenant)
		}
	}, true
}
