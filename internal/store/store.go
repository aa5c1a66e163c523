package store

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/utils/clock"

	"nau/internal/store/kv"
	"nau/internal/store/kv/embedded"
	"nau/internal/store/kv/remote"
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
	// QuotaBytes bounds the embedded database; 0 means 8 GiB.
	QuotaBytes int64
	// Retain is how long history is kept for exact reads and paging; 0 means
	// 5 minutes. Negative turns compaction off (an external etcd may do its own).
	Retain time.Duration
	// Spare gives memory back to the system. It is called after a turn of the
	// house before which, or in which, much became garbage; nil means
	// [debug.FreeOSMemory].
	Spare func()
	// Clock paces bookmarks, trimming and compaction; nil is the real one.
	Clock clock.WithTicker
	// Log receives what an operator should know; nil discards.
	Log *slog.Logger
}

// withDefaults fills what was left out.
func (c Config) withDefaults() Config {
	if c.Prefix == "" {
		c.Prefix = "/registry/"
	}
	if c.QuotaBytes == 0 {
		c.QuotaBytes = 8 << 30
	}
	if c.Retain == 0 {
		c.Retain = 5 * time.Minute
	}
	if c.Spare == nil {
		c.Spare = debug.FreeOSMemory
	}
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Store is an open store. One goroutine, the pump, receives every change from
// etcd in order and applies it to the collection that it belongs to; another
// keeps house. Everything else happens on the callers' goroutines.
type Store struct {
	cfg     Config
	backend kv.Backend

	// applied is the revision up to which every loaded collection is complete.
	applied atomic.Int64
	waiting waiters
	fresh   freshener
	noSpace chan struct{}
	heavy   chan struct{} // a history weighs much

	// mu guards the registry. The pump holds it for reading while it applies a
	// batch, so that a collection joins between batches.
	mu          sync.RWMutex
	collections []*Collection // by prefix
	seen        atomic.Int64  // revision of the newest batch taken up; stored under mu
	stream      kv.Stream

	ended atomic.Bool // the pump has stopped
	stop  context.CancelFunc
	done  sync.WaitGroup
}

// Open opens the store and waits until it can serve.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	cfg = cfg.withDefaults()
	var backend kv.Backend
	var err error
	if len(cfg.Endpoints) > 0 {
		backend, err = remote.Open(ctx, remote.Config{Endpoints: cfg.Endpoints, TLS: cfg.TLS})
	} else {
		backend, err = embedded.Open(ctx, embedded.Config{Dir: cfg.Dir, QuotaBytes: cfg.QuotaBytes, Log: cfg.Log})
	}
	if err != nil {
		return nil, err
	}
	s, err := open(ctx, cfg, backend)
	if err != nil {
		backend.Close()
		return nil, err
	}
	return s, nil
}

func open(ctx context.Context, cfg Config, backend kv.Backend) (*Store, error) {
	rev, err := backend.Revision(ctx)
	if err != nil {
		return nil, fmt.Errorf("read etcd's revision: %w", err)
	}
	s := &Store{cfg: cfg, backend: backend, noSpace: make(chan struct{}, 1), heavy: make(chan struct{}, 1)}
	s.applied.Store(rev)
	s.seen.Store(rev)
	s.fresh.ask = backend.Revision

	running, stop := context.WithCancel(context.Background())
	s.stop = stop
	if s.stream, err = backend.Watch(running, cfg.Prefix, rev); err != nil {
		stop()
		return nil, fmt.Errorf("watch etcd: %w", err)
	}
	s.done.Go(func() { s.pump(running) })
	s.done.Go(func() { s.keepHouse(running) })
	return s, nil
}

// Close stops everything; acknowledged writes are on disk already. Watchers end
// with [ErrClosed].
func (s *Store) Close() error {
	s.stop()
	s.done.Wait()
	return s.backend.Close()
}

// Revision is the newest revision that the cache has applied.
func (s *Store) Revision() int64 { return s.applied.Load() }

// Compact forgets history older than revision.
func (s *Store) Compact(ctx context.Context, revision int64) error {
	if err := s.backend.Compact(ctx, revision); err != nil && !errors.Is(err, kv.ErrCompacted) {
		return fmt.Errorf("compact etcd at %d: %w", revision, err)
	}
	return nil
}

// Snapshot writes a backup in the form of `etcdctl snapshot save`.
func (s *Store) Snapshot(ctx context.Context, w io.Writer) error { return s.backend.Snapshot(ctx, w) }

// Healthy tells whether the store can serve; the error says why not.
func (s *Store) Healthy(ctx context.Context) error {
	_, err := s.backend.Revision(ctx)
	return err
}

// Failed is closed when the store can serve no more, such as on a full or
// broken disk; Err then says why. The process should end.
func (s *Store) Failed() <-chan struct{} { return s.backend.Failed() }

// Err is the reason of Failed, or nil.
func (s *Store) Err() error { return s.backend.Err() }

// Collection returns the collection below cfg.Prefix; the first call for a
// prefix decides its configuration. Its cache fills at first use. Prefixes must
// lie below the store's, end with a slash and not contain each other.
func (s *Store) Collection(cfg CollectionConfig) *Collection {
	if !strings.HasPrefix(cfg.Prefix, s.cfg.Prefix) || !strings.HasSuffix(cfg.Prefix, "/") {
		panic("store: collection prefix " + cfg.Prefix + " is not below " + s.cfg.Prefix)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i := sort.Search(len(s.collections), func(i int) bool { return s.collections[i].cfg.Prefix >= cfg.Prefix })
	if i < len(s.collections) && s.collections[i].cfg.Prefix == cfg.Prefix {
		return s.collections[i]
	}
	c := newCollection(s, cfg)
	s.collections = append(s.collections, nil)
	copy(s.collections[i+1:], s.collections[i:])
	s.collections[i] = c
	return c
}

// Drop forgets the collection below prefix, as when a kind is no longer served;
// its watchers end with [ErrExpired]. What is in etcd stays.
func (s *Store) Drop(prefix string) {
	s.mu.Lock()
	var c *Collection
	for i := range s.collections {
		if s.collections[i].cfg.Prefix == prefix {
			c = s.collections[i]
			s.collections = append(s.collections[:i:i], s.collections[i+1:]...)
			break
		}
	}
	s.mu.Unlock()
	if c == nil {
		return
	}
	c.loading.Lock()
	defer c.loading.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cutLocked(ErrExpired)
	c.reset()
	c.phase, c.dropped = cold, true
}

// find returns the collection that a full key belongs to, or nil. mu is held.
func (s *Store) find(key string) *Collection {
	i := sort.Search(len(s.collections), func(i int) bool { return s.collections[i].cfg.Prefix > key })
	if i > 0 && strings.HasPrefix(key, s.collections[i-1].cfg.Prefix) {
		return s.collections[i-1]
	}
	return nil
}
