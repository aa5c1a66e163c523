// Package compiled is a list that is read from API objects and compiled, anew at the first use after one of the objects has changed:
// what the admission plugins do that find their rules in the API. Only they import it.
package compiled

import (
	"fmt"
	"sync"
	"sync/atomic"

	"k8s.io/client-go/tools/cache"
)

// List is the list. Its uses cost a load of a pointer while nothing changes.
type List[T any] struct {
	read    func() ([]T, error)
	stale   atomic.Bool
	mu      sync.Mutex // held while it is read anew
	current atomic.Pointer[[]T]
}

// Follow makes a list that read makes out of what the informers have seen, which they tell only after they have it: read before their first list,
// it is empty, and afterwards complete.
func Follow[T any](read func() ([]T, error), from ...cache.SharedIndexInformer) (*List[T], error) {
	l := &List[T]{read: read}
	l.current.Store(new([]T))
	l.stale.Store(true)
	dirty := func() { l.stale.Store(true) }
	for _, i := range from {
		if _, err := i.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: func(any) { dirty() }, UpdateFunc: func(any, any) { dirty() }, DeleteFunc: func(any) { dirty() },
		}); err != nil {
			return nil, fmt.Errorf("follow admission rules: %w", err)
		}
	}
	return l, nil
}

// Current is the list as the objects are now; it must not be changed. After an error it is read again at the next use.
func (l *List[T]) Current() ([]T, error) {
	if !l.stale.Load() {
		return *l.current.Load(), nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stale.Swap(false) {
		fresh, err := l.read()
		if err != nil {
			l.stale.Store(true)
			return nil, err
		}
		l.current.Store(&fresh)
	}
	return *l.current.Load(), nil
}
