package owned

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
)

// expectFor bounds how long a missing event can hold a key up.
const expectFor = 5 * time.Minute

// Expectations remember, per key, the creations and deletions that were asked
// for and that the informer has not shown yet. Until it has, what the lister says
// is not the whole truth, and nothing more is created or deleted.
type Expectations struct {
	clock clock.PassiveClock
	mu    sync.Mutex
	keys  map[string]*expected
}

type expected struct {
	creations int
	deletions map[types.UID]struct{}
	since     time.Time
}

// NewExpectations makes an empty set.
func NewExpectations(c clock.PassiveClock) *Expectations {
	return &Expectations{clock: c, keys: map[string]*expected{}}
}

func (e *Expectations) of(key string) *expected {
	x := e.keys[key]
	if x == nil {
		x = &expected{deletions: map[types.UID]struct{}{}}
		e.keys[key] = x
	}
	return x
}

// Create is called before n objects are created.
func (e *Expectations) Create(key string, n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	x := e.of(key)
	x.creations += n
	x.since = e.clock.Now()
}

// Created is called for each creation that the informer shows or that failed.
func (e *Expectations) Created(key string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if x := e.keys[key]; x != nil {
		if x.creations > 0 {
			x.creations--
		}
		e.tidy(key, x)
	}
}

// Delete is called before an object is deleted.
func (e *Expectations) Delete(key string, uid types.UID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	x := e.of(key)
	x.deletions[uid] = struct{}{}
	x.since = e.clock.Now()
}

// Deleted is called for each deletion that the informer shows (a deletion
// timestamp will do) or that failed.
func (e *Expectations) Deleted(key string, uid types.UID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if x := e.keys[key]; x != nil {
		delete(x.deletions, uid)
		e.tidy(key, x)
	}
}

func (e *Expectations) tidy(key string, x *expected) {
	if x.creations == 0 && len(x.deletions) == 0 {
		delete(e.keys, key)
	}
}

// Met tells whether the lister can be trusted for this key.
func (e *Expectations) Met(key string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	x := e.keys[key]
	if x != nil && e.clock.Since(x.since) > expectFor {
		delete(e.keys, key)
		return true
	}
	return x == nil
}

// Forget drops a key.
func (e *Expectations) Forget(key string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.keys, key)
}
