// Package hold keeps things from being collected while somebody works with them.
//
// A Set counts holders per key. A Sweep asks of every candidate whether it may go; what is held, or was held at any time since the sweep
// began, may not: between the moment a sweep reads its roots and the moment it deletes, a worker can write a new root and let go, and the
// sweep's roots would not know. It is memory only, on purpose: after a crash nobody works with anything.
//
// It is not a reference count of stored things (those are the roots a sweep is given). engine/content and engine/layer use it.
package hold

import "sync"

// Set is a set of held keys. The zero value is ready.
type Set[K comparable] struct {
	mu     sync.Mutex
	held   map[K]int
	shield map[K]struct{} // held at some time since the running sweep began; nil = no sweep runs
	sweep  sync.Mutex     // one sweep at a time
}

// Lease holds keys until Release. It is safe for concurrent use.
type Lease[K comparable] struct {
	set  *Set[K]
	mu   sync.Mutex
	keys []K
	done bool
}

// Lease makes an empty lease.
func (s *Set[K]) Lease() *Lease[K] { return &Lease[K]{set: s} }

// Hold adds keys to the lease. A key need not exist yet: hold first, look second.
func (l *Lease[K]) Hold(keys ...K) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done {
		return
	}
	l.keys = append(l.keys, keys...)
	s := l.set
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held == nil {
		s.held = map[K]int{}
	}
	for _, k := range keys {
		s.held[k]++
		if s.shield != nil {
			s.shield[k] = struct{}{}
		}
	}
}

// Release lets go of everything; later Holds do nothing. Releasing twice is no error.
func (l *Lease[K]) Release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done {
		return
	}
	l.done = true
	s := l.set
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range l.keys {
		if s.held[k]--; s.held[k] == 0 {
			delete(s.held, k)
		}
	}
	l.keys = nil
}

// Sweep runs f, which reads its roots first and then calls free for every candidate that no root names. free calls remove unless the key is or
// was held since the sweep began; remove runs under the set's lock, so it must be short and must not call the set.
func (s *Set[K]) Sweep(f func(free func(key K, remove func()) bool) error) error {
	s.sweep.Lock()
	defer s.sweep.Unlock()
	s.mu.Lock()
	s.shield = make(map[K]struct{}, len(s.held))
	for k := range s.held {
		s.shield[k] = struct{}{}
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.shield = nil
		s.mu.Unlock()
	}()
	return f(func(key K, remove func()) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		if _, ok := s.shield[key]; ok {
			return false
		}
		remove()
		return true
	})
}
