package layer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"nau/internal/engine/content/durable"
	"nau/internal/engine/content/hold"
	"nau/internal/engine/diskuse"
	"nau/internal/kernel/idmap"
)

// The directory, drawn once. N is a number in base 36, given in order; short, because overlayfs takes all lower directories in one page of
// options on kernels without fsconfig's lowerdir+.
//
//	l<N>/fs, l<N>/layer.json          an extracted layer; the file is the record below
//	s<N>/u, s<N>/w, s<N>/snapshot.json  a snapshot: upper and work directory
//	f<N>/fs, f<N>/fix.json            directories put right for one chain of layers (see fix.go)
//	t<N>                              being made, being removed, or a spare (see spares.go); freed at open
//	new/t<N>                          a layer being unpacked; freed at open
//	e                                 the empty lower directory
//	r                                 places for what is mounted in every container, see stubs.go
//	unsynced/<sha256-hex>.<boot>      layers that are not durable yet, see content/durable
//
// A thing is made whole under t<N> and renamed: whatever has its right name is complete. Records only ever gain fields.
type layerRecord struct {
	DiffID  digest.Digest `json:"diffID"`
	Size    int64         `json:"size"`
	Disk    int64         `json:"disk"`
	Inodes  int64         `json:"inodes"`
	Implied []string      `json:"implied,omitempty"` // directories the archive used without describing them
	Created time.Time     `json:"created"`
}

type snapshotRecord struct {
	Key      string            `json:"key"`
	Parent   []digest.Digest   `json:"parent,omitempty"`
	Volatile bool              `json:"volatile,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
	Owners   idmap.Map         `json:"owners,omitzero"` // the upper directory's files have the host's ids of this mapping
	Created  time.Time         `json:"created"`
}

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

// DefaultLimits are far above any honest image and far below what hurts a machine.
var DefaultLimits = Limits{Entries: 2_000_000, Bytes: 256 << 30, Reserve: 256 << 20}

// Store owns one directory of layers and snapshots. One process opens it at a time.
type Store struct {
	cfg   Config
	marks *durable.Marks
	held  hold.Set[digest.Digest]

	mu        sync.Mutex
	next      uint64
	layers    map[digest.Digest]*layerEntry
	snapshots map[string]*snapshotEntry
	fixes     map[string]*fixEntry
	working   map[digest.Digest]chan struct{} // layers being unpacked now; closed when done
	spares    []string                        // see spares.go

	mapOnce sync.Once // of CanMapOwners
	mapErr  error
}

type layerEntry struct {
	name string // "l1a"
	rec  layerRecord
}

type snapshotEntry struct {
	name string // "s1b"
	rec  snapshotRecord
}

// Option of Prepare.
type Option func(*Snapshot)

// Volatile asks for an upper directory whose syncs are skipped (overlayfs "volatile"): for containers that never outlive a boot.
func Volatile() Option { return func(s *Snapshot) { s.Volatile = true } }

// Lasting asks for a record that is on disk when Prepare returns; the folder's name is once the caller has forced something later to disk.
func Lasting() Option { return func(s *Snapshot) { s.lasting = true } }

// Labels are kept with the snapshot's record.
func Labels(m map[string]string) Option { return func(s *Snapshot) { s.Labels = m } }

// Owners asks for a snapshot whose files belong to a user namespace with the mapping: what an image's user 0 owns, the namespace's root owns.
func Owners(m idmap.Map) Option { return func(s *Snapshot) { s.Owners = m } }

// Open opens the store, makes it if it is not there, and frees what a crash left.
func Open(cfg Config) (*Store, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Limits.Entries == 0 {
		cfg.Limits.Entries = DefaultLimits.Entries
	}
	if cfg.Limits.Bytes == 0 {
		cfg.Limits.Bytes = DefaultLimits.Bytes
	}
	if cfg.Limits.Reserve == 0 {
		cfg.Limits.Reserve = DefaultLimits.Reserve
	}
	if !filepath.IsAbs(cfg.Dir) {
		return nil, fmt.Errorf("open layer store: %q is not an absolute path", cfg.Dir)
	}
	s := &Store{cfg: cfg, layers: map[digest.Digest]*layerEntry{}, snapshots: map[string]*snapshotEntry{}, fixes: map[string]*fixEntry{}, working: map[digest.Digest]chan struct{}{}}
	// Containers' users must pass the parents of a lower directory only inside overlayfs, never on the host: 0700.
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open layer store: %w", err)
	}
	if err := os.Mkdir(s.path("e"), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("open layer store: %w", err)
	}
	if err := makeTargets(s.Targets()); err != nil {
		return nil, fmt.Errorf("open layer store: %w", err)
	}
	if err := errors.Join(removePath(s.path("new")), os.Mkdir(s.path("new"), 0o700)); err != nil {
		return nil, fmt.Errorf("open layer store: %w", err)
	}
	spread(s.path("new"))
	if err := s.load(); err != nil {
		return nil, fmt.Errorf("open layer store: %w", err)
	}
	marks, err := durable.Open(s.path("unsynced"), s.marked, s.doubt)
	if err != nil {
		return nil, fmt.Errorf("open layer store: %w", err)
	}
	s.marks = marks
	return s, nil
}

// load reads all records and frees the half-made.
func (s *Store) load() error {
	entries, err := os.ReadDir(s.cfg.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if !strings.ContainsRune("tlsf", rune(name[0])) {
			continue
		}
		n, err := strconv.ParseUint(name[1:], 36, 64)
		if err != nil || strconv.FormatUint(n, 36) != name[1:] {
			continue
		}
		s.next = max(s.next, n+1)
		var bad error
		switch name[0] {
		case 't':
			if err := removePath(s.path(name)); err != nil {
				return err
			}
		case 'l':
			l := &layerEntry{name: name}
			if bad = readRecord(s.path(name, "layer.json"), &l.rec); bad == nil {
				s.layers[l.rec.DiffID] = l
			}
		case 's':
			p := &snapshotEntry{name: name}
			if bad = readRecord(s.path(name, "snapshot.json"), &p.rec); bad == nil {
				s.snapshots[p.rec.Key] = p
			}
		case 'f':
			f := &fixEntry{name: name}
			if bad = readRecord(s.path(name, "fix.json"), &f.rec); bad == nil {
				s.fixes[f.rec.Chain] = f
			}
		}
		if bad != nil { // only a power loss makes a record unreadable: the thing is lost, its bytes must not be
			s.cfg.Log.Warn("free layer or snapshot without a readable record", "name", name, "error", bad)
			if err := removePath(s.path(name)); err != nil {
				return err
			}
		}
	}
	return nil
}

func readRecord(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

func markName(d digest.Digest) string { return strings.Replace(string(d), ":", "-", 1) }

// marked says whether the layer of a mark is here.
func (s *Store) marked(mark string) bool {
	_, ok := s.layers[digest.Digest(strings.Replace(mark, "-", ":", 1))]
	return ok
}

// doubt drops a layer whose files a power loss may have cut short; its blob unpacks again.
func (s *Store) doubt(mark string) error {
	d := digest.Digest(strings.Replace(mark, "-", ":", 1))
	l := s.layers[d]
	s.cfg.Log.Warn("drop layer that a power loss may have damaged", "diffID", d)
	delete(s.layers, d)
	return removePath(s.path(l.name))
}

// Close stops background work.
func (s *Store) Close() error {
	s.marks.Close()
	return nil
}

// Sync makes all layers durable.
func (s *Store) Sync() error { return s.marks.Sync() }

// Lease holds layers against Collect, whether they are here yet or not.
func (s *Store) Lease() *hold.Lease[digest.Digest] { return s.held.Lease() }

func (s *Store) path(elem ...string) string {
	return filepath.Join(append([]string{s.cfg.Dir}, elem...)...)
}

// number gives out the next name.
func (s *Store) number() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.next
	s.next++
	return strconv.FormatUint(n, 36)
}

// Has describes a layer that is here.
func (s *Store) Has(diffID digest.Digest) (Info, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok := s.layers[diffID]
	if !ok {
		return Info{}, false
	}
	return l.info(), true
}

func (l *layerEntry) info() Info {
	return Info{DiffID: l.rec.DiffID, Size: l.rec.Size, Disk: l.rec.Disk, Inodes: l.rec.Inodes, Created: l.rec.Created}
}

// Layers lists all layers, oldest first.
func (s *Store) Layers() []Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Info, 0, len(s.layers))
	for _, l := range s.layers {
		all = append(all, l.info())
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Created.Before(all[j].Created) })
	return all
}

// Apply unpacks an archive in any compression as layer diffID ("" = whatever its digest is). A layer that is here is not read again; two
// callers with one diffID share the work, and the second's archive is not read. The archive is read to its end. The layer is held by lease, if one is
// given, from before it can be seen.
func (s *Store) Apply(ctx context.Context, diffID digest.Digest, archive io.Reader, lease ...*hold.Lease[digest.Digest]) (Info, error) {
	if diffID != "" {
		for _, l := range lease {
			l.Hold(diffID)
		}
		done, info, err := s.claim(ctx, diffID)
		if err != nil || done == nil {
			return info, err
		}
		defer func() {
			s.mu.Lock()
			delete(s.working, diffID)
			s.mu.Unlock()
			close(done)
		}()
	}
	tmp := s.path("new", "t"+s.number())
	src := &source{r: archive}
	info, err := s.extract(ctx, diffID, tmp, src, lease)
	if err != nil {
		if src.fine() && blamesArchive(err) {
			err = fmt.Errorf("%w: %w", ErrArchive, err)
		}
		if gone := removePath(tmp); gone != nil {
			s.cfg.Log.Warn("remove half-made layer", "error", gone)
		}
		name := string(diffID)
		if name == "" {
			name = "archive"
		}
		return Info{}, fmt.Errorf("unpack layer %s: %w", name, err)
	}
	return info, nil
}

// source remembers whether the bytes came in well: if they did, a reading error is the archive's own.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil {
		s.err = err
	}
	return n, err
}

func (s *source) fine() bool { return s.err == nil || s.err == io.EOF }

// blamesArchive tells a decompressor's or tar reader's complaint from the kernel's and the caller's.
func blamesArchive(err error) bool {
	var errno syscall.Errno
	return !errors.As(err, &errno) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) &&
		!errors.Is(err, ErrLimit) && !errors.Is(err, ErrDigest) && !errors.Is(err, ErrArchive)
}

// claim waits while somebody else unpacks the layer. A nil channel means that it is here.
func (s *Store) claim(ctx context.Context, diffID digest.Digest) (chan struct{}, Info, error) {
	if err := diffID.Validate(); err != nil {
		return nil, Info{}, fmt.Errorf("unpack layer %q: %w", string(diffID), err)
	}
	for {
		s.mu.Lock()
		if l, ok := s.layers[diffID]; ok {
			s.mu.Unlock()
			return nil, l.info(), nil
		}
		other, busy := s.working[diffID]
		if !busy {
			done := make(chan struct{})
			s.working[diffID] = done
			s.mu.Unlock()
			return done, Info{}, nil
		}
		s.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, Info{}, context.Cause(ctx)
		}
	}
}

func (s *Store) extract(ctx context.Context, diffID digest.Digest, tmp string, archive io.Reader, lease []*hold.Lease[digest.Digest]) (Info, error) {
	root, err := makeRoot(tmp)
	if err != nil {
		return Info{}, err
	}
	defer unix.Close(root)
	z, err := Decompress(archive)
	if err != nil {
		return Info{}, err
	}
	defer z.Close()
	sum := digest.SHA256.Digester()
	if diffID != "" && diffID.Algorithm().Available() {
		sum = diffID.Algorithm().Digester()
	}
	ahead := newReadAhead(z, sum.Hash())
	defer ahead.Close()
	u := newUnpacker(root, s.cfg.Limits)
	out, err := u.unpack(ctx, ahead)
	if err != nil {
		return Info{}, err
	}
	// The digest covers what follows the archive's end too.
	if n, err := io.Copy(io.Discard, io.LimitReader(ahead, s.cfg.Limits.Bytes)); err != nil {
		return Info{}, archiveError("read padding", err)
	} else if n == s.cfg.Limits.Bytes {
		return Info{}, fmt.Errorf("%w: padding", ErrLimit)
	}
	got := sum.Digest()
	for _, l := range lease {
		l.Hold(got)
	}
	if diffID != "" && got != diffID {
		return Info{}, &DigestError{Want: diffID, Got: got}
	}
	rec := layerRecord{DiffID: got, Size: out.size, Disk: out.disk, Inodes: out.entries, Implied: out.implied, Created: time.Now().UTC()}
	if out.recount {
		if rec.Disk, _, err = diskuse.Of(filepath.Join(tmp, "fs")); err != nil {
			return Info{}, err
		}
	}
	return s.place(tmp, rec)
}

// makeRoot makes a layer's directory and opens its root.
func makeRoot(tmp string) (int, error) {
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return -1, err
	}
	root := filepath.Join(tmp, "fs")
	if err := os.Mkdir(root, 0o755); err != nil {
		return -1, err
	}
	if err := os.Chmod(root, 0o755); err != nil { // whatever the umask
		return -1, err
	}
	fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", root, err)
	}
	return fd, nil
}

// place gives a finished layer its name.
func (s *Store) place(tmp string, rec layerRecord) (Info, error) {
	if err := writeRecord(filepath.Join(tmp, "layer.json"), rec, false); err != nil {
		return Info{}, err
	}
	l := &layerEntry{name: "l" + filepath.Base(tmp)[1:], rec: rec}
	s.mu.Lock()
	defer s.mu.Unlock()
	if have, ok := s.layers[rec.DiffID]; ok { // an archive of unknown digest turned out to be one of ours
		return have.info(), removePath(tmp)
	}
	if err := s.marks.Add(markName(rec.DiffID)); err != nil { // under the lock: Collect takes the mark of the layer that it removes
		return Info{}, err
	}
	if err := os.Rename(tmp, s.path(l.name)); err != nil {
		return Info{}, err
	}
	s.layers[rec.DiffID] = l
	return l.info(), nil
}

// writeRecord writes a record, on the disk when it returns if it is to last. A file that is there is written over: its inode and its block stay.
func writeRecord(path string, v any, lasting bool) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(b); err != nil {
		return err
	}
	if info, err := f.Stat(); err != nil {
		return err
	} else if info.Size() != int64(len(b)) {
		if err := f.Truncate(int64(len(b))); err != nil {
			return err
		}
	}
	if lasting {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return f.Close()
}

// Collect removes the layers that roots do not mark, no snapshot stands on and no lease holds; it tells the disk bytes freed.
func (s *Store) Collect(roots ...func(mark func(digest.Digest)) error) (int64, error) {
	var freed int64
	var doomed []string
	err := s.held.Sweep(func(free func(digest.Digest, func()) bool) error {
		live := map[digest.Digest]struct{}{}
		for _, r := range roots {
			if err := r(func(d digest.Digest) { live[d] = struct{}{} }); err != nil {
				return fmt.Errorf("mark layers: %w", err)
			}
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, p := range s.snapshots {
			for _, d := range p.rec.Parent {
				live[d] = struct{}{}
			}
		}
		for d, l := range s.layers {
			if _, ok := live[d]; ok {
				continue
			}
			if _, ok := s.working[d]; ok {
				continue
			}
			var failed error
			free(d, func() {
				tmp := s.path("t" + l.name[1:])
				if failed = os.Rename(s.path(l.name), tmp); failed != nil {
					return
				}
				delete(s.layers, d)
				s.marks.Drop(markName(d))
				doomed = append(doomed, tmp)
				freed += l.rec.Disk
			})
			if failed != nil {
				return fmt.Errorf("remove layer %s: %w", d, failed)
			}
		}
		for chain, f := range s.fixes {
			if !s.fixNeeded(f) {
				tmp := s.path("t" + f.name[1:])
				if err := os.Rename(s.path(f.name), tmp); err != nil {
					return fmt.Errorf("remove fix: %w", err)
				}
				delete(s.fixes, chain)
				doomed = append(doomed, tmp)
			}
		}
		doomed, s.spares = append(doomed, s.spares...), nil
		return nil
	})
	for _, tmp := range doomed {
		if gone := removePath(tmp); err == nil {
			err = gone
		}
	}
	return freed, err
}
