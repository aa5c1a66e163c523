package store

import (
	"errors"
	"fmt"

	"nau/internal/store/kv"
)

// The kinds of failure. Errors returned by this package wrap one of these where
// the caller can act on the kind; compare with [errors.Is].
var (
	// ErrNotFound: there is no such key.
	ErrNotFound = errors.New("not found")
	// ErrExists: create found the key taken.
	ErrExists = errors.New("exists already")
	// ErrConflict: the key is at another revision than expected.
	ErrConflict = errors.New("changed meanwhile")
	// ErrExpired: the revision asked for is no longer known (HTTP 410).
	ErrExpired = errors.New("revision too old")
	// ErrFutureRevision: the revision asked for has not been reached in time.
	ErrFutureRevision = errors.New("revision not reached yet")
	// ErrSlow: the watcher fell behind the history that is kept; it was cut.
	ErrSlow = errors.New("watcher too slow")
	// ErrBadContinue: the continue token is malformed or of another collection.
	ErrBadContinue = errors.New("malformed continue token")
	// ErrClosed: the store, or the watcher, has been closed.
	ErrClosed = errors.New("closed")
	// ErrNoSpace: the database has reached its quota; deletes still work, and
	// the store compacts and defragments by itself before it takes writes again.
	ErrNoSpace = kv.ErrNoSpace
	// ErrDiskFull: the disk has no room for the write; it has when there is room again.
	ErrDiskFull = kv.ErrDiskFull
	// ErrTooLarge: the value exceeds what one write may carry.
	ErrTooLarge = kv.ErrTooLarge
)

// ExpiredError is an [ErrExpired] of a list that was being paged, or of a watch.
type ExpiredError struct {
	// Continue resumes the list at the same place on the newest state; pages
	// before and after then belong to different revisions. "" for a watch.
	Continue string
	// Revision is the one that is gone.
	Revision int64
	// Oldest is the one from which a watch could start; 0 for a list.
	Oldest int64
}

func (e *ExpiredError) Error() string {
	if e.Oldest > 0 {
		return fmt.Sprintf("watch from revision %d, history begins at %d: %v", e.Revision, e.Oldest, ErrExpired)
	}
	return fmt.Sprintf("list at revision %d: %v", e.Revision, ErrExpired)
}

// Is makes errors.Is(err, ErrExpired) hold.
func (e *ExpiredError) Is(target error) bool { return target == ErrExpired }

// FutureError is an [ErrFutureRevision]; it tells how far the store is.
type FutureError struct{ Asked, Current int64 }

func (e *FutureError) Error() string {
	return fmt.Sprintf("wait for revision %d, at %d: %v", e.Asked, e.Current, ErrFutureRevision)
}

// Is makes errors.Is(err, ErrFutureRevision) hold.
func (e *FutureError) Is(target error) bool { return target == ErrFutureRevision }

// ConflictError is an [ErrConflict] of one key.
type ConflictError struct {
	Key string
	// Expected and Current are revisions.
	Expected, Current int64
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("write %s: at revision %d, not %d: %v", e.Key, e.Current, e.Expected, ErrConflict)
}

// Is makes errors.Is(err, ErrConflict) hold.
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }
