package store

import "context"

// Collection is the objects below one prefix. All methods may be called
// concurrently.
type Collection struct{}

// Create writes a new key. [ErrExists].
func (c *Collection) Create(ctx context.Context, key string, value Value) (*Entry, error) { panic("") }

// Update overwrites a key whose entry is at revision expect. [ErrConflict],
// [ErrNotFound].
func (c *Collection) Update(ctx context.Context, key string, expect int64, value Value) (*Entry, error) {
	panic("")
}

// Delete removes a key whose entry is at revision expect (0: whichever) and
// returns its last state, stamped with the revision of the deletion.
// [ErrConflict], [ErrNotFound].
func (c *Collection) Delete(ctx context.Context, key string, expect int64) (*Entry, error) { panic("") }

// Get returns the newest entry, at least as new as minRevision if that is
// positive; minRevision -1 takes whatever the cache holds. [ErrNotFound],
// [ErrFutureRevision].
func (c *Collection) Get(ctx context.Context, key string, minRevision int64) (*Entry, error) {
	panic("")
}

// List returns entries in key order. [ErrExpired] (an [*ExpiredError] while
// paging), [ErrFutureRevision], [ErrBadContinue].
func (c *Collection) List(ctx context.Context, opts ListOptions) (*Page, error) { panic("") }

// Watch starts a watch. [ErrExpired], [ErrFutureRevision].
func (c *Collection) Watch(ctx context.Context, opts WatchOptions) (*Watcher, error) { panic("") }

// Watcher is a running watch; one goroutine calls Next.
type Watcher struct{}

// Next blocks until there are events and returns them in order; the slice is
// valid until the next call. An error ends the watch: [ErrSlow], [ErrExpired],
// [ErrClosed], or the context's. Events of one call may share one write to the
// network.
func (w *Watcher) Next(ctx context.Context) ([]Event, error) { panic("") }

// Revision is the one up to which Next has returned everything; a caller may
// make a bookmark of it at any time.
func (w *Watcher) Revision() int64 { panic("") }

// Close ends the watch; a blocked Next returns [ErrClosed].
func (w *Watcher) Close() { panic("") }
