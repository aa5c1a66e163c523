// Package kv is what the store asks of etcd: a dozen lines of it, so that an
// embedded member and a remote cluster serve alike.
//
// It is not a general key-value interface: writes are compare-and-swap on one
// key, reads are ranges, and a watch covers everything below one prefix. Two
// implementations stand beside it, kv/embedded and kv/remote; kv/kvtest holds
// the suite that both pass. Only store may import it.
package kv

import (
	"context"
	"errors"
	"io"
)

// The kinds of failure that callers act on.
var (
	// ErrCompacted: the revision is older than what etcd keeps.
	ErrCompacted = errors.New("revision compacted")
	// ErrFuture: the revision has not been reached.
	ErrFuture = errors.New("revision in the future")
	// ErrNoSpace: the database has reached its quota.
	ErrNoSpace = errors.New("database quota reached")
	// ErrDiskFull: the disk has no room for the write. Deletes may still work, and all do when there is room again.
	ErrDiskFull = errors.New("no space left on device")
	// ErrTooLarge: the request exceeds etcd's size limit.
	ErrTooLarge = errors.New("value too large")
	// ErrStopped: the backend has been closed or has failed for good.
	ErrStopped = errors.New("etcd stopped")
)

// Any, given as the expected revision of a delete, accepts each.
const Any int64 = -1

// Pair is a key with its value. Value belongs to the receiver.
type Pair struct {
	Key      string
	Value    []byte
	Revision int64 // of the last write to the key
}

// Result says how a compare-and-swap ended.
type Result struct {
	// OK: it was applied, at Revision.
	OK bool
	// Revision is the store's after the request.
	Revision int64
	// Current is the key's last write when the swap did not apply; 0 if absent.
	Current int64
}

// Page is a part of a range, ascending by key.
type Page struct {
	Pairs    []Pair
	Revision int64 // the store's when the range was read
	More     bool
	Count    int64 // keys in the whole range
}

// Change is one write seen by a watch.
type Change struct {
	Pair
	Deleted bool // Value is empty then
}

// Batch is what a watch delivers: changes in order, complete up to Revision.
// A batch without changes tells progress.
type Batch struct {
	Changes  []Change
	Revision int64
}

// Stream is a running watch. Next blocks; the error ErrCompacted means that the
// stream cannot go on without a gap. One goroutine calls Next.
type Stream interface {
	Next(ctx context.Context) (Batch, error)
	// Progress asks for a batch that tells the revision reached.
	Progress(ctx context.Context) error
	Close()
}

// Backend is an etcd. All methods may be called concurrently.
type Backend interface {
	// Put writes value if the key's last write is expect (0: if it is absent).
	Put(ctx context.Context, key string, value []byte, expect int64) (Result, error)
	// Delete removes the key if its last write is expect, or Any.
	Delete(ctx context.Context, key string, expect int64) (Result, error)
	// Range reads [from, to) at a revision (0: newest, no consensus asked), at
	// most limit pairs (0: all).
	Range(ctx context.Context, from, to string, revision, limit int64) (Page, error)
	// Revision is the cluster's current one, by consensus.
	Revision(ctx context.Context) (int64, error)
	// Watch delivers every change below prefix after revision since.
	Watch(ctx context.Context, prefix string, since int64) (Stream, error)
	// Compact forgets history below revision.
	Compact(ctx context.Context, revision int64) error
	// Maintain returns free pages to the file system and lifts a quota alarm
	// where that made room. It may hold up writes for a moment.
	Maintain(ctx context.Context) error
	// Snapshot writes a backup in the form of `etcdctl snapshot save`.
	Snapshot(ctx context.Context, w io.Writer) error
	// Exclusive tells whether this process sees every write at once, because
	// nobody else can write: then reads need no consensus.
	Exclusive() bool
	// Failed is closed when the backend can serve no more; Err says why.
	Failed() <-chan struct{}
	Err() error
	Close() error
}

// After is the smallest string greater than all that begin with prefix.
func After(prefix string) string {
	b := []byte(prefix)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] < 0xff {
			b[i]++
			return string(b[:i+1])
		}
	}
	return "\x00"
}
