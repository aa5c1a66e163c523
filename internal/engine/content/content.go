// Package content is the one place where blobs lie: files addressed by the digest of their bytes, shared by images and the registry server.
//
//	<dir>/blobs/<algorithm>/<hex>     complete and verified, mode 0600
//	<dir>/ingest/<hex>                on the way in; the name is the hash of the ingest's key. Kept over a crash, so that it can be resumed
//	<dir>/pins/<owner>/…/<algorithm>-<hex>    see PinDir
//	<dir>/unsynced/<algorithm>-<hex>.<boot>   see content/durable
//
// The life of a blob: Ingest (or Put) writes bytes, Commit compares the digest and renames into place, Collect deletes what no root names and
// no lease holds. Nothing here knows what a blob means.
//
// The engine's rooms and internal/registry may import it.
package content

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	_ "crypto/sha256" // the digest algorithms that blobs may be named by
	_ "crypto/sha512"

	"github.com/opencontainers/go-digest"

	"nau/internal/engine/content/durable"
	"nau/internal/engine/content/hold"
)

// Kinds of errors; test with errors.Is.
var (
	ErrNotFound = errors.New("blob not found")
	ErrDigest   = errors.New("digest mismatch")
	ErrSize     = errors.New("size mismatch")
	ErrBusy     = errors.New("ingest is in use")
	ErrInvalid  = errors.New("invalid digest")
)

// StaleIngest is the age after which an interrupted ingest is taken for abandoned.
const StaleIngest = 24 * time.Hour

// Store is one content directory. One process opens it at a time.
type Store struct {
	dir   string
	log   *slog.Logger
	marks *durable.Marks
	held  hold.Set[digest.Digest]

	mu     sync.Mutex
	active map[string]struct{} // ingest names being written
	roots  []Root
}

// Info describes a blob.
type Info struct {
	Digest  digest.Digest
	Size    int64
	Disk    int64 // bytes of disk blocks
	ModTime time.Time
}

// Open opens the store in dir, making it if it is not there. Blobs whose bytes a power loss may have taken are hashed again; abandoned ingests are
// freed.
func Open(dir string, log *slog.Logger) (*Store, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Store{dir: dir, log: log, active: map[string]struct{}{}}
	for _, d := range []string{"blobs/sha256", "blobs/sha512", "ingest"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			return nil, fmt.Errorf("make content directory: %w", err)
		}
	}
	var err error
	if s.marks, err = durable.Open(filepath.Join(dir, "unsynced"), s.marked, s.prove); err != nil {
		return nil, err
	}
	if err := s.dropStale(time.Now().Add(-StaleIngest)); err != nil {
		return nil, err
	}
	return s, nil
}

// Close stops background work. Ingests still open keep their files.
func (s *Store) Close() error {
	s.marks.Close()
	return nil
}

// Sync makes all committed blobs durable: a promise kept before it is given.
func (s *Store) Sync() error { return s.marks.Sync() }

// Settle makes single blobs durable, without waiting for anything else the disk has to do.
func (s *Store) Settle(digests ...digest.Digest) error {
	for _, d := range digests {
		p, err := s.Path(d)
		if err != nil {
			return err
		}
		if err := s.marks.Settle(markName(d), p); err != nil {
			return err
		}
	}
	return nil
}

// Lease holds blobs against Collect, whether they are here yet or not.
func (s *Store) Lease() *hold.Lease[digest.Digest] { return s.held.Lease() }

// Path tells where a blob lies (or would lie).
func (s *Store) Path(d digest.Digest) (string, error) {
	if err := d.Validate(); err != nil {
		return "", fmt.Errorf("%w %q", ErrInvalid, string(d))
	}
	switch d.Algorithm() {
	case digest.SHA256, digest.SHA512:
		return filepath.Join(s.dir, "blobs", string(d.Algorithm()), d.Encoded()), nil
	}
	return "", fmt.Errorf("%w %q: algorithm is not sha256 or sha512", ErrInvalid, string(d))
}

// Stat describes a blob. ErrNotFound if it is not here.
func (s *Store) Stat(d digest.Digest) (Info, error) {
	p, err := s.Path(d)
	if err != nil {
		return Info{}, err
	}
	st, err := os.Stat(p)
	if err != nil {
		return Info{}, blobError(d, err)
	}
	return Info{Digest: d, Size: st.Size(), ModTime: st.ModTime()}, nil
}

// Has tells whether the blob is here.
func (s *Store) Has(d digest.Digest) bool {
	_, err := s.Stat(d)
	return err == nil
}

// Blob opens a blob for reading. The file stays readable when the blob is collected meanwhile.
func (s *Store) Blob(d digest.Digest) (*os.File, error) {
	p, err := s.Path(d)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(p)
	if err != nil {
		return nil, blobError(d, err)
	}
	return f, nil
}

// ReadAll reads a small blob. A blob of more than limit bytes is an error.
func (s *Store) ReadAll(d digest.Digest, limit int64) ([]byte, error) {
	f, err := s.Blob(d)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read blob %s: %w", d, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("read blob %s: %w: more than %d bytes", d, ErrSize, limit)
	}
	return b, nil
}

func blobError(d digest.Digest, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("open blob %s: %w", d, ErrNotFound)
	}
	return fmt.Errorf("open blob %s: %w", d, err)
}

// marked says whether the blob of a mark is here.
func (s *Store) marked(mark string) bool {
	_, err := s.Stat(digest.Digest(strings.Replace(mark, "-", ":", 1)))
	return err == nil || !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrInvalid)
}

// prove hashes a blob again, and removes it if the bytes are not what its name says.
func (s *Store) prove(mark string) error {
	d := digest.Digest(strings.Replace(mark, "-", ":", 1))
	p, err := s.Path(d)
	if err != nil {
		return err
	}
	f, err := os.Open(p)
	if err != nil {
		return err
	}
	defer f.Close()
	v := d.Verifier()
	if _, err := io.Copy(v, f); err == nil && v.Verified() {
		return nil
	}
	s.log.Warn("drop blob that a power loss damaged", "digest", d)
	return os.Remove(p)
}

func markName(d digest.Digest) string { return strings.Replace(string(d), ":", "-", 1) }

// Walk calls f for every blob.
func (s *Store) Walk(f func(Info) error) error {
	for _, alg := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		dir, err := os.Open(filepath.Join(s.dir, "blobs", string(alg)))
		if err != nil {
			return fmt.Errorf("walk blobs: %w", err)
		}
		for {
			entries, err := dir.ReadDir(512)
			for _, e := range entries {
				st, err := e.Info()
				if err != nil {
					continue // collected meanwhile
				}
				if err := f(Info{Digest: digest.NewDigestFromEncoded(alg, e.Name()), Size: st.Size(), Disk: blocks(st), ModTime: st.ModTime()}); err != nil {
					dir.Close()
					return err
				}
			}
			if err == io.EOF {
				break
			}
			if err != nil {
				dir.Close()
				return fmt.Errorf("walk blobs: %w", err)
			}
		}
		dir.Close()
	}
	return nil
}

// Root marks every blob that must stay.
type Root func(mark func(digest.Digest)) error

// Collect deletes the blobs that no root (of AddRoot, of roots, or a pin) marks and no lease holds, and tells the bytes freed. Roots are read after the sweep has begun, so a
// lease that was released after a new root was written is safe either way.
func (s *Store) Collect(roots ...Root) (int64, error) {
	s.mu.Lock()
	all := append([]Root{s.pinned}, append(roots, s.roots...)...)
	s.mu.Unlock()
	var freed int64
	err := s.held.Sweep(func(free func(digest.Digest, func()) bool) error {
		live := map[digest.Digest]struct{}{}
		for _, r := range all {
			if err := r(func(d digest.Digest) { live[d] = struct{}{} }); err != nil {
				return fmt.Errorf("mark blobs: %w", err)
			}
		}
		return s.Walk(func(i Info) error {
			if _, ok := live[i.Digest]; ok {
				return nil
			}
			p, err := s.Path(i.Digest)
			if err != nil {
				return nil
			}
			var failed error
			free(i.Digest, func() {
				if failed = os.Remove(p); failed == nil {
					freed += i.Disk
					s.marks.Drop(markName(i.Digest))
				}
			})
			if failed != nil && !errors.Is(failed, fs.ErrNotExist) {
				return fmt.Errorf("delete blob %s: %w", i.Digest, failed)
			}
			return nil
		})
	})
	return freed, err
}

// DropIngests frees interrupted ingests older than age, and tells the bytes freed.
func (s *Store) DropIngests(age time.Duration) (int64, error) {
	before := s.Ingests()
	err := s.dropStale(time.Now().Add(-age))
	return before - s.Ingests(), err
}

// blocks are the bytes of disk that a file takes.
func blocks(info fs.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512
	}
	return info.Size()
}

// Ingests are the bytes of disk that blobs on their way in take, running and interrupted ones.
func (s *Store) Ingests() (n int64) {
	entries, _ := os.ReadDir(filepath.Join(s.dir, "ingest"))
	for _, e := range entries {
		if st, err := e.Info(); err == nil {
			n += blocks(st)
		}
	}
	return n
}

func (s *Store) dropStale(before time.Time) error {
	dir := filepath.Join(s.dir, "ingest")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read ingests: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range entries {
		st, err := e.Info()
		if _, busy := s.active[e.Name()]; err != nil || busy || st.ModTime().After(before) {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("drop ingest: %w", err)
		}
	}
	return nil
}

// AddRoot makes root take part in every Collect from now on.
func (s *Store) AddRoot(root Root) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roots = append(s.roots, root)
}

// PinDir is a directory for owner's own records, made if it is not there. A file anywhere below it named "<algorithm>-<hex>" keeps that blob,
// whether its owner runs or not: what a registry holds must survive a collection by an engine that was started without it.
func (s *Store) PinDir(owner string) (string, error) {
	dir := filepath.Join(s.dir, "pins", owner)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make pin directory: %w", err)
	}
	return dir, nil
}

// PinName is the file name that pins d.
func PinName(d digest.Digest) string { return markName(d) }

// PinDigest reads PinName back.
func PinDigest(name string) (digest.Digest, bool) {
	alg, hex, ok := strings.Cut(name, "-")
	d := digest.NewDigestFromEncoded(digest.Algorithm(alg), hex)
	return d, ok && d.Validate() == nil
}

func (s *Store) pinned(mark func(digest.Digest)) error {
	err := filepath.WalkDir(filepath.Join(s.dir, "pins"), func(_ string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if d, ok := PinDigest(e.Name()); ok {
			mark(d)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read pins: %w", err)
	}
	return nil
}
