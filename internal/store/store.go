package store

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"time"
)

// Config says where the data is and how long its history is kept.
type Config struct {
	// Dir is the data directory of the embedded member; it is made if missing.
	Dir string
	// Endpoints of an external etcd; if set, nothing is embedded.
	Endpoints []string
	// TLS for the external etcd; nil is plain text.
	TLS *tls.Config
	// Prefix below which everything is kept; "" means "/registry/".
	Prefix string
	// QuotaBytes bounds the database; 0 means 8 GiB.
	QuotaBytes int64
	// Retain is how long history is kept for exact reads and paging; 0 means
	// 5 minutes. Negative turns compaction off (an external etcd may do its own).
	Retain time.Duration
	// Log receives what an operator should know; nil discards.
	Log *slog.Logger
}

// Store is an open store.
type Store struct{}

// Open opens the store and waits until it can serve.
func Open(ctx context.Context, cfg Config) (*Store, error) { panic("") }

// Close stops everything; acknowledged writes are on disk already.
func (s *Store) Close() error { panic("") }

// Revision is the newest revision that the cache has applied.
func (s *Store) Revision() int64 { panic("") }

// Compact forgets history older than revision.
func (s *Store) Compact(ctx context.Context, revision int64) error { panic("") }

// Snapshot writes a backup in the form of `etcdctl snapshot save`.
func (s *Store) Snapshot(ctx context.Context, w io.Writer) error { panic("") }

// Healthy tells whether the store can serve writes; the error says why not.
func (s *Store) Healthy(ctx context.Context) error { panic("") }

// Failed is closed when the store can serve no more, such as on a full or
// broken disk; Err then says why. The process should end.
func (s *Store) Failed() <-chan struct{} { panic("") }

// Err is the reason of Failed, or nil.
func (s *Store) Err() error { panic("") }

// Collection returns the collection below cfg.Prefix; the first call for a
// prefix decides its configuration. Its cache fills at first use.
func (s *Store) Collection(cfg CollectionConfig) *Collection { panic("") }
