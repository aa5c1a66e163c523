package layer

import (
	"context"
	"errors"
	"io"
	"log/slog"

	"github.com/opencontainers/go-digest"
)

// Config of a layer store.
type Config struct {
	Dir    string // absolute; made if it is not there
	Limits Limits
	Log    *slog.Logger
}

// Limits bound what one archive may unpack to. Zero fields take the defaults of DefaultLimits.
type Limits struct {
	Entries int64 // archive entries of one layer
	Bytes   int64 // bytes of content of one layer
	Reserve int64 // bytes that stay free on the file system
}

// Store owns one directory of layers and snapshots.
type Store struct{ cfg Config }

// Option of Prepare.
type Option func(*Snapshot)

// Volatile asks for an upper directory whose syncs are skipped (overlayfs "volatile"): for containers that never outlive a boot.
func Volatile() Option { return func(s *Snapshot) { s.Volatile = true } }

// Labels are kept with the snapshot's record.
func Labels(m map[string]string) Option { return func(s *Snapshot) { s.Labels = m } }

var errLater = errors.ErrUnsupported

// Open opens the store and frees what a crash left.
func Open(cfg Config) (*Store, error)                  { return nil, errLater }
func (s *Store) Close() error                          { return errLater }
func (s *Store) Has(diffID digest.Digest) (Info, bool) { return Info{}, false }
func (s *Store) Layers() []Info                        { return nil }
func (s *Store) Snapshots() []Snapshot                 { return nil }
func (s *Store) Snapshot(key string) (Snapshot, error) { return Snapshot{}, errLater }

// Prepare makes the writable layer for key over parent (diff IDs, bottom first; nil = empty). ErrExists if the key is taken, ErrNotFound if a
// parent layer is not here.
func (s *Store) Prepare(ctx context.Context, key string, parent []digest.Digest, opts ...Option) (Mount, error) {
	return Mount{}, errLater
}

// Mounts answers Prepare's answer again, after a restart for instance.
func (s *Store) Mounts(ctx context.Context, key string) (Mount, error) { return Mount{}, errLater }

// Remove frees the snapshot. It must not be mounted. A missing key is no error.
func (s *Store) Remove(key string) error { return errLater }

// Usage walks the snapshot's upper directory.
func (s *Store) Usage(ctx context.Context, key string) (Usage, error) { return Usage{}, errLater }

// Changes lists what the snapshot changes, sorted by path (docker diff).
func (s *Store) Changes(ctx context.Context, key string) ([]Change, error) { return nil, errLater }

// Diff writes the snapshot's changes as an uncompressed OCI layer archive.
func (s *Store) Diff(ctx context.Context, key string, w io.Writer) error { return errLater }

// Commit writes the snapshot's changes as an uncompressed OCI layer archive and tells its diff ID and size.
func (s *Store) Commit(ctx context.Context, key string, w io.Writer) (digest.Digest, int64, error) {
	return "", 0, errLater
}
