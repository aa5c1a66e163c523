package image

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"nau/internal/engine/layer"
)

// Config of an image store.
type Config struct {
	DB        string // path of the names database, "<data>/images.db"
	Layers    *layer.Store
	Platform  *ocispec.Platform                                     // nil = this machine's
	Registry  Registries                                            //
	Creds     func(host string) (*Auth, error)                      // credentials for a registry host when a pull brings none; may be nil
	InUse     func(id digest.Digest) (users []string, running bool) // who uses an image; nil = nobody
	Downloads int                                                   // layers downloaded at once in one pull; 0 = 6
	Log       *slog.Logger
}

// Registries says how registry hosts are reached. Loopback addresses are always allowed over plain HTTP.
type Registries struct {
	Insecure  []string            // hosts ("host", "host:port"), CIDRs: HTTP allowed, certificates not verified
	Mirrors   map[string][]string // host ("docker.io", "*") → endpoint URLs, tried in order before the host itself
	CAs       map[string][]byte   // host → PEM of extra roots
	UserAgent string
}

// Store is the set of images of one data directory.
type Store struct{ cfg Config }

// CreateOptions describe an image made here, from layers that are here.
type CreateOptions struct {
	Config []byte        // the configuration blob; rootfs.diff_ids must name the layers
	Layers []LayerBlob   // bottom first, one per diff ID
	Names  []string      // names to give it
	Parent digest.Digest // image it was made from
	Docker bool          // docker schema 2 media types instead of OCI's
}

// LayerBlob names one layer: its blob and the digest of its uncompressed archive.
type LayerBlob struct {
	Blob   ocispec.Descriptor
	DiffID digest.Digest
}

// PruneOptions of one prune. Filters beyond these are the caller's: Keep says which images stay.
type PruneOptions struct {
	All  bool              // images without a container, not only untagged ones
	Keep func(*Image) bool // nil = nothing more is kept
}

// ImportOptions of one archive import.
type ImportOptions struct {
	Names    []string // names to give instead of the archive's own
	Progress func(Event)
	Platform *ocispec.Platform
}

var errLater = errors.ErrUnsupported

func Open(cfg Config) (*Store, error) { return nil, errLater }
func (s *Store) Close() error         { return errLater }

// Pull brings the image that ref names ("nginx", "10.0.0.1:5000/app:v1", "x@sha256:…"), unpacked. Concurrent pulls of one thing share the work.
func (s *Store) Pull(ctx context.Context, ref string, opts PullOptions) (*Image, error) {
	return nil, errLater
}

// Push sends the image that ref names to its registry; the answer is the pushed manifest's descriptor.
func (s *Store) Push(ctx context.Context, ref string, opts PushOptions) (ocispec.Descriptor, error) {
	return ocispec.Descriptor{}, errLater
}

// Get finds an image by name, digest reference, ID or unique ID prefix (with or without "sha256:"). ErrNotFound, ErrAmbiguous.
func (s *Store) Get(refOrID string) (*Image, error) { return nil, errLater }

// Resolve is Get plus the full name that matched ("docker.io/library/nginx:latest", "" if an ID matched).
func (s *Store) Resolve(refOrID string) (*Image, string, error) { return nil, "", errLater }

// List lists all images, newest first.
func (s *Store) List() []*Image { return nil }

// Tag gives the image that src names the name dst.
func (s *Store) Tag(ctx context.Context, src, dst string) error { return errLater }

// Remove follows docker's reference rules: a name is untagged; the last name, or an ID with a single name, deletes the image.
func (s *Store) Remove(ctx context.Context, refOrID string, opts RemoveOptions) ([]Removed, error) {
	return nil, errLater
}

// Prune removes what nothing uses; the answer tells the bytes that the disk got back.
func (s *Store) Prune(ctx context.Context, opts PruneOptions) ([]Removed, int64, error) {
	return nil, 0, errLater
}

// Usage accounts for images' bytes.
func (s *Store) Usage(ctx context.Context) (DiskUsage, error) { return DiskUsage{}, errLater }

// Import reads an OCI layout or docker-save archive (tar, gzip, zstd, xz).
func (s *Store) Import(ctx context.Context, r io.Reader, opts ImportOptions) ([]*Image, error) {
	return nil, errLater
}

// ImportRootFS makes an image of one layer out of a root file system archive (docker import).
func (s *Store) ImportRootFS(ctx context.Context, r io.Reader, config ocispec.Image, name, comment string) (*Image, error) {
	return nil, errLater
}

// Export writes an archive that is an OCI layout and a docker-save archive at once.
func (s *Store) Export(ctx context.Context, w io.Writer, refs ...string) error { return errLater }

// AddLayer stores an uncompressed layer archive as a gzip blob and unpacks it: the answer goes into CreateOptions.
func (s *Store) AddLayer(ctx context.Context, r io.Reader) (LayerBlob, error) {
	return LayerBlob{}, errLater
}

// Create makes an image out of layers that are here.
func (s *Store) Create(ctx context.Context, opts CreateOptions) (*Image, error) { return nil, errLater }

// Commit makes an image of a snapshot's changes over its parent's layers (docker commit). config is the new image's configuration; its rootfs and
// history's last entry are completed here.
func (s *Store) Commit(ctx context.Context, key string, parent digest.Digest, config ocispec.Image, name string) (*Image, error) {
	return nil, errLater
}

// Used tells when the image was last used by a container, for prune filters; zero if never.
func (s *Store) Used(id digest.Digest) time.Time { return time.Time{} }
