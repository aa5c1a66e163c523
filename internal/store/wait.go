package store

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// futureWait bounds how long a read waits for a revision that has not been
// reached; upstream waits as long.
const futureWait = 3 * time.Second

// waiters are the callers who wait for a revision to be applied.
type waiters struct {
	n    atomic.Int32 // lets the pump pass without the lock
	mu   sync.Mutex
	list []waiter
}

type waiter struct {
	revision int64
	reached  chan struct{}
}

func (w *waiters) add(revision int64) chan struct{} {
	reached := make(chan struct{})
	w.mu.Lock()
	w.list = append(w.list, waiter{revision, reached})
	w.n.Store(int32(len(w.list)))
	w.mu.Unlock()
	return reached
}

func (w *waiters) remove(reached chan struct{}) {
	w.mu.Lock()
	for i := range w.list {
		if w.list[i].reached == reached {
			w.drop(i)
			break
		}
	}
	w.n.Store(int32(len(w.list)))
	w.mu.Unlock()
}

func (w *waiters) drop(i int) {
	last := len(w.list) - 1
	w.list[i] = w.list[last]
	w.list[last] = waiter{}
	w.list = w.list[:last]
}

// release wakes those whose revision has been reached. It is called after
// applied was stored, and add before applied is read again: nobody is missed.
func (w *waiters) release(applied int64) {
	if w.n.Load() == 0 {
		return
	}
	w.mu.Lock()
	for i := 0; i < len(w.list); {
		if w.list[i].revision <= applied {
			close(w.list[i].reached)
			w.drop(i)
		} else {
			i++
		}
	}
	w.n.Store(int32(len(w.list)))
	w.mu.Unlock()
}

// wait blocks until revision has been applied. bound limits the wait; 0 is no
// limit but the context's.
func (s *Store) wait(ctx context.Context, revision int64, bound time.Duration) error {
	if s.applied.Load() >= revision {
		return nil
	}
	reached := s.waiting.add(revision)
	defer s.waiting.remove(reached)
	if s.applied.Load() >= revision {
		return nil
	}
	if s.backend.Exclusive() && bound == 0 { // the change is on its way
		select {
		case <-reached:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-s.backend.Failed():
			return s.backend.Err()
		}
	}
	var deadline <-chan time.Time
	if bound > 0 {
		t := s.cfg.Clock.NewTimer(bound)
		defer t.Stop()
		deadline = t.C()
	}
	// Writes outside our prefix raise the revision unseen: ask for progress.
	ask := s.cfg.Clock.NewTicker(10 * time.Millisecond)
	defer ask.Stop()
	for {
		select {
		case <-reached:
			return nil
		case <-ask.C():
			s.mu.RLock()
			stream := s.stream
			s.mu.RUnlock()
			if err := stream.Progress(ctx); err != nil {
				return err
			}
		case <-deadline:
			return &FutureError{Asked: revision, Current: s.applied.Load()}
		case <-ctx.Done():
			return ctx.Err()
		case <-s.backend.Failed():
			return s.backend.Err()
		}
	}
}

// freshen returns when the cache is at least as new as the call. Where only this
// process writes, it is already: a write is acknowledged after the cache has it.
func (s *Store) freshen(ctx context.Context) error {
	if s.backend.Exclusive() {
		return s.backend.Err()
	}
	revision, err := s.fresh.revision(ctx)
	if err != nil {
		return err
	}
	return s.wait(ctx, revision, 0)
}

// freshener asks etcd for its revision, once for all who ask at the same time.
type freshener struct {
	ask func(context.Context) (int64, error)

	mu      sync.Mutex
	running bool
	next    *question // for those who came while one was running
}

type question struct {
	answered chan struct{}
	revision int64
	err      error
}

// revision joins a question that is put after the call began.
func (f *freshener) revision(ctx context.Context) (int64, error) {
	f.mu.Lock()
	if f.next == nil {
		f.next = &question{answered: make(chan struct{})}
	}
	q := f.next
	if !f.running {
		f.running = true
		go f.run()
	}
	f.mu.Unlock()
	select {
	case <-q.answered:
		return q.revision, q.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (f *freshener) run() {
	for {
		f.mu.Lock()
		q := f.next
		f.next = nil
		if q == nil {
			f.running = false
			f.mu.Unlock()
			return
		}
		f.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		q.revision, q.err = f.ask(ctx)
		cancel()
		close(q.answered)
	}
}
