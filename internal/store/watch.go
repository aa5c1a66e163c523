package store

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
)

// batchSize bounds the events that one Next returns.
const batchSize = 512

// Watcher is a running watch; one goroutine calls Next and Revision, any may
// call Close.
type Watcher struct {
	c    *Collection
	opts WatchOptions
	feed *feed
	key  scope // of a narrow feed; zero for the main one

	// all: nothing selects, every change below the prefix is for us.
	all bool

	// Owned by the caller of Next.
	initial   []*Entry  // still to be sent as Added
	started   int64     // revision of the initial state
	announced bool      // the end of the initial state has been told
	backlog   []*change // from before a narrow feed was joined
	at        cursor
	events    []Event
	reached   int64
	marked    int64 // revision of the last bookmark

	asleep   atomic.Bool
	bookmark atomic.Bool // one is due
	wake     chan struct{}

	once sync.Once
	done chan struct{}
	err  error // set before done is closed
}

// Watch starts a watch. [ErrExpired], [ErrFutureRevision].
func (c *Collection) Watch(ctx context.Context, opts WatchOptions) (*Watcher, error) {
	w, err := c.watch(ctx, opts)
	if err != nil {
		return nil, fmt.Errorf("watch %s%s: %w", c.cfg.Prefix, opts.Prefix, err)
	}
	return w, nil
}

func (c *Collection) watch(ctx context.Context, opts WatchOptions) (*Watcher, error) {
	if opts.Labels != nil && opts.Labels.Empty() {
		opts.Labels = nil
	}
	if opts.Fields != nil && opts.Fields.Empty() {
		opts.Fields = nil
	}
	err := c.load(ctx)
	switch {
	case err != nil:
	case opts.Since > 0:
		err = c.store.wait(ctx, opts.Since, futureWait)
	case opts.Fresh || !opts.Initial:
		err = c.store.freshen(ctx)
	}
	if err != nil {
		return nil, err
	}
	if err := c.store.stopped(); err != nil {
		return nil, err
	}
	w := &Watcher{
		c: c, opts: opts,
		all:       opts.Labels == nil && opts.Fields == nil,
		announced: !opts.Initial || !opts.Bookmarks,
		wake:      make(chan struct{}, 1),
		done:      make(chan struct{}),
	}
	selected := ListOptions{Prefix: opts.Prefix, Labels: opts.Labels, Fields: opts.Fields}
	field, value := c.narrowest(selected)

	var from *snapshot
	applied := c.store.applied.Load()
	c.mu.Lock()
	w.started = max(applied, c.last)
	if !opts.Initial && opts.Since > 0 && opts.Since < c.history.base {
		oldest := c.history.base
		c.mu.Unlock()
		return nil, &ExpiredError{Revision: opts.Since, Oldest: oldest}
	}
	w.feed = c.main
	if field != "" {
		w.key = scope{field, value}
		w.feed = c.narrow[w.key]
		if w.feed == nil {
			w.feed = newFeed()
			c.narrow[w.key] = w.feed
		}
	}
	w.at = w.feed.end()
	switch {
	case opts.Initial:
		if field != "" && field != namespaceField && field != nameField {
			for _, e := range c.index[field][value] {
				w.initial = append(w.initial, e)
			}
		} else {
			from = c.freezeLocked()
		}
	case opts.Since > 0:
		w.started = opts.Since
		if past, ok := c.history.after(opts.Since); ok {
			if field == "" {
				w.at = past
			} else {
				for ch := past.next(); ch != nil; ch = past.next() {
					w.backlog = append(w.backlog, ch)
				}
			}
		}
	}
	w.feed.watchers = append(w.feed.watchers, w)
	c.mu.Unlock()

	w.reached, w.marked = w.started, w.started
	if from != nil {
		w.initial = c.page(from, opts.Prefix, selected).Entries
	} else {
		kept := w.initial[:0]
		for _, e := range w.initial {
			if strings.HasPrefix(e.Key, opts.Prefix) && e.selects(opts.Labels, opts.Fields) {
				kept = append(kept, e)
			}
		}
		w.initial = kept
	}
	return w, nil
}

// stopped tells whether the pump has ended.
func (s *Store) stopped() error {
	if s.ended.Load() {
		return ErrClosed
	}
	return nil
}

// Next blocks until there are events and returns them in order; the slice is
// valid until the next call. An error ends the watch: [ErrSlow], [ErrExpired],
// [ErrClosed], or the context's. Events of one call may share one write to the
// network.
func (w *Watcher) Next(ctx context.Context) ([]Event, error) {
	clear(w.events)
	w.events = w.events[:0]
	for {
		if n := min(len(w.initial), batchSize); n > 0 {
			for _, e := range w.initial[:n] {
				w.events = append(w.events, Event{Type: Added, Entry: e, Revision: e.Revision})
			}
			clear(w.initial[:n])
			if w.initial = w.initial[n:]; len(w.initial) == 0 {
				w.initial = nil
			}
			return w.events, nil
		}
		if !w.announced {
			w.announced = true
			w.events = append(w.events, Event{Type: Bookmark, Revision: w.started, InitialEnd: true})
			return w.events, nil
		}
		if err := w.ended(); err != nil {
			return nil, err
		}
		applied := w.c.store.applied.Load() // before the feed is looked at
		drained, err := w.read()
		if err != nil {
			w.end(err)
			w.leave()
			return nil, err
		}
		if len(w.events) > 0 {
			w.reached = w.events[len(w.events)-1].Revision
			return w.events, nil
		}
		if !drained {
			continue
		}
		w.reached = max(w.reached, applied)
		if w.bookmark.Swap(false) && w.reached > w.marked {
			w.marked = w.reached
			w.events = append(w.events, Event{Type: Bookmark, Revision: w.reached})
			return w.events, nil
		}
		w.asleep.Store(true)
		if w.at.more() || w.bookmark.Load() && w.c.store.applied.Load() > w.marked {
			w.asleep.Store(false)
			continue
		}
		select {
		case <-w.wake:
		case <-w.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// read turns changes into events until the feed's end (drained) or a full batch.
func (w *Watcher) read() (drained bool, err error) {
	for len(w.backlog) > 0 && len(w.events) < batchSize {
		w.tell(w.backlog[0])
		w.backlog[0] = nil
		w.backlog = w.backlog[1:]
	}
	if w.feed.head.Load()-w.at.sequence() > uint64(w.c.cfg.History) {
		return false, ErrSlow
	}
	for len(w.events) < batchSize {
		ch := w.at.next()
		if ch == nil {
			return true, nil
		}
		w.tell(ch)
	}
	return false, nil
}

// tell appends the event that the change is to this watcher, if it is one.
func (w *Watcher) tell(ch *change) {
	if p := w.opts.Prefix; p != "" && !strings.HasPrefix(ch.key(), p) {
		return
	}
	is := ch.entry != nil && (w.all || ch.entry.selects(w.opts.Labels, w.opts.Fields))
	was := ch.previous != nil && (w.all || ch.previous.selects(w.opts.Labels, w.opts.Fields))
	switch {
	case is && was:
		w.events = append(w.events, Event{Type: Modified, Entry: ch.entry, Revision: ch.revision})
	case is:
		w.events = append(w.events, Event{Type: Added, Entry: ch.entry, Revision: ch.revision})
	case was:
		w.events = append(w.events, Event{Type: Deleted, Entry: ch.gone(), Revision: ch.revision})
	}
}

// rouse wakes a sleeping Next.
func (w *Watcher) rouse() {
	if w.asleep.Swap(false) {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// Revision is the one up to which Next has returned everything; a caller may
// make a bookmark of it at any time.
func (w *Watcher) Revision() int64 { return w.reached }

// Close ends the watch; a blocked Next returns [ErrClosed].
func (w *Watcher) Close() {
	w.end(ErrClosed)
	w.leave()
}

// end marks the watch as over.
func (w *Watcher) end(err error) {
	w.once.Do(func() {
		w.err = err
		close(w.done)
	})
}

func (w *Watcher) ended() error {
	select {
	case <-w.done:
		return w.err
	default:
		return nil
	}
}

// leave takes the watcher off its feed.
func (w *Watcher) leave() {
	c := w.c
	c.mu.Lock()
	defer c.mu.Unlock()
	w.feed.remove(w)
	if w.feed != c.main && len(w.feed.watchers) == 0 && c.narrow[w.key] == w.feed {
		if w.feed.timer != nil {
			w.feed.timer.Stop()
		}
		delete(c.narrow, w.key)
	}
}
