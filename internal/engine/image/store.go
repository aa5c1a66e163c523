package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	bolt "go.etcd.io/bbolt"

	"nau/internal/engine/content"
	"nau/internal/engine/image/remote"
	"nau/internal/engine/layer"
)

// Config of an image store.
type Config struct {
	DB         string // path of the names database, "<data>/images.db"
	Content    *content.Store
	Layers     *layer.Store
	Platform   *ocispec.Platform // nil = this machine's
	Registries Registries
	Creds      func(host string) (*Auth, error)                      // credentials for a registry host when a caller brings none; nil = anonymous
	InUse      func(id digest.Digest) (users []string, running bool) // who uses an image; nil = nobody
	Downloads  int                                                   // layers downloaded at once in one pull; 0 = 6
	Unpacks    int                                                   // layers unpacked at once in the whole store; 0 = twice the processors
	Log        *slog.Logger
}

// Store is the set of images of one data directory. One process opens it at a time.
type Store struct {
	cfg    Config
	log    *slog.Logger
	db     *bolt.DB
	remote *remote.Client
	unpack chan struct{} // slots

	mu     sync.RWMutex // covers records, names and the database's write order
	images map[digest.Digest]*held
	names  map[string]*nameRecord

	flights flights // running pulls and downloads
	changed atomic.Pointer[func()]
}

// OnChange has f called after each change of images or of their names. f neither waits nor asks the store.
func (s *Store) OnChange(f func()) { s.changed.Store(&f) }

// held is a record with what is read from its blobs once.
type held struct {
	rec    imageRecord
	config ocispec.Image
	raw    []byte
}

// Open opens the store. An image whose blobs a power loss took is dropped, one whose layers it took is unpacked again.
func Open(cfg Config) (*Store, error) {
	if cfg.Content == nil || cfg.Layers == nil {
		return nil, errors.New("open image store: no content or layer store")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Platform == nil {
		p := HostPlatform()
		cfg.Platform = &p
	}
	if cfg.Downloads <= 0 {
		cfg.Downloads = 6
	}
	if cfg.Unpacks <= 0 {
		cfg.Unpacks = max(4, 2*runtime.GOMAXPROCS(0))
	}
	s := &Store{cfg: cfg, log: cfg.Log, remote: remote.New(cfg.Registries), images: map[digest.Digest]*held{}, unpack: make(chan struct{}, cfg.Unpacks)}
	db, err := openDB(cfg.DB)
	if err != nil {
		return nil, err
	}
	s.db = db
	if err := s.load(); err != nil {
		db.Close()
		return nil, fmt.Errorf("open image store: %w", err)
	}
	cfg.Content.AddRoot(s.markBlobs)
	// What a crash left between the arrival of blobs and the writing of a record.
	if _, err := s.collect(); err != nil {
		db.Close()
		return nil, fmt.Errorf("open image store: %w", err)
	}
	return s, nil
}

func (s *Store) load() error {
	records, names, err := readDB(s.db)
	if err != nil {
		return err
	}
	lost := change{images: map[digest.Digest]*imageRecord{}, names: map[string]*nameRecord{}}
	for id, r := range records {
		h, err := s.complete(*r)
		if err != nil {
			s.log.Warn("drop image that lost its content", "id", id, "error", err)
			lost.images[id] = nil
			continue
		}
		s.images[id] = h
	}
	for n, r := range names {
		if s.images[r.ID] == nil {
			lost.names[n] = nil
			delete(names, n)
		}
	}
	s.names = names
	if len(lost.images)+len(lost.names) > 0 {
		return writeDB(s.db, lost)
	}
	return nil
}

// complete reads the configuration and makes sure that blobs and layers are here.
func (s *Store) complete(r imageRecord) (*held, error) {
	raw, err := s.cfg.Content.ReadAll(r.ID, remote.MaxManifest)
	if err != nil {
		return nil, err
	}
	h := &held{rec: r, raw: raw}
	if err := json.Unmarshal(raw, &h.config); err != nil {
		return nil, fmt.Errorf("read config %s: %w", r.ID, err)
	}
	if !s.cfg.Content.Has(r.Manifest.Digest) {
		return nil, fmt.Errorf("find manifest %s: %w", r.Manifest.Digest, content.ErrNotFound)
	}
	for i, d := range r.DiffIDs {
		if _, ok := s.cfg.Layers.Has(d); ok {
			continue
		}
		f, err := s.cfg.Content.Blob(r.Layers[i].Digest)
		if err != nil {
			return nil, err
		}
		_, err = s.cfg.Layers.Apply(context.Background(), d, f)
		f.Close()
		if err != nil {
			return nil, err
		}
	}
	return h, nil
}

// Close closes the database. Pulls must have ended.
func (s *Store) Close() error {
	s.remote.Close()
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close image database: %w", err)
	}
	return nil
}

// markBlobs is the images' part in what content keeps.
func (s *Store) markBlobs(mark func(digest.Digest)) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, h := range s.images {
		mark(h.rec.ID)
		mark(h.rec.Manifest.Digest)
		for _, l := range h.rec.Layers {
			mark(l.Digest)
		}
	}
	for _, n := range s.names {
		mark(n.Target.Digest)
		if isIndex(n.Target.MediaType) {
			s.markIndex(n.Target.Digest, mark)
		}
	}
	return nil
}

func (s *Store) markLayers(mark func(digest.Digest)) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, h := range s.images {
		for _, d := range h.rec.DiffIDs {
			mark(d)
		}
	}
	return nil
}

// collect frees blobs and layers that nothing needs; it tells the bytes.
func (s *Store) collect() (int64, error) {
	blobs, err := s.cfg.Content.Collect()
	layers, lerr := s.cfg.Layers.Collect(s.markLayers)
	return blobs + layers, errors.Join(err, lerr)
}

// apply writes one change to the database, then to memory. The lock is held.
func (s *Store) apply(c change, fresh map[digest.Digest]*held) error {
	if err := writeDB(s.db, c); err != nil {
		return fmt.Errorf("write image database: %w", err)
	}
	for id, r := range c.images {
		switch {
		case r == nil:
			delete(s.images, id)
		case fresh[id] != nil:
			s.images[id] = fresh[id]
		default:
			h := *s.images[id]
			h.rec = *r
			s.images[id] = &h
		}
	}
	for n, r := range c.names {
		if r == nil {
			delete(s.names, n)
		} else {
			s.names[n] = r
		}
	}
	if f := s.changed.Load(); f != nil {
		(*f)()
	}
	return nil
}

// view makes the public form. The lock is held.
func (s *Store) view(h *held) *Image {
	var names []string
	for n, r := range s.names {
		if r.ID == h.rec.ID {
			names = append(names, n)
		}
	}
	return viewWith(h, names)
}

func viewWith(h *held, names []string) *Image {
	img := &Image{
		ID: h.rec.ID, Config: h.config, RawConfig: h.raw, DiffIDs: h.rec.DiffIDs, Manifest: h.rec.Manifest, Layers: h.rec.Layers,
		Parent: h.rec.Parent, Created: h.rec.Created, LastTagged: h.rec.Tagged,
	}
	for _, n := range h.rec.Sizes {
		img.Size += n
	}
	for _, l := range h.rec.Layers {
		img.Compressed += l.Size
	}
	for _, n := range names {
		if isDigestName(n) {
			img.RepoDigests = append(img.RepoDigests, familiar(n))
		} else {
			img.RepoTags = append(img.RepoTags, familiar(n))
		}
	}
	sort.Strings(img.RepoTags)
	sort.Strings(img.RepoDigests)
	return img
}

// Get finds an image by name, digest reference, ID or unique ID prefix (with or without "sha256:"). ErrNotFound, ErrAmbiguous.
func (s *Store) Get(refOrID string) (*Image, error) {
	img, _, err := s.Resolve(refOrID)
	return img, err
}

// Resolve is Get plus the full name that matched ("docker.io/library/nginx:latest", "" if an ID matched).
func (s *Store) Resolve(refOrID string) (*Image, string, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	h, name, err := s.find(refOrID)
	if err != nil {
		return nil, "", err
	}
	return s.view(h), name, nil
}

// find follows docker's order: a whole ID, then a name, then a prefix of an ID. The lock is held.
func (s *Store) find(refOrID string) (*held, string, error) {
	prefix, hex := idPrefix(refOrID)
	if hex && len(prefix) == 64 {
		if h, ok := s.images[digest.NewDigestFromEncoded(digest.SHA256, prefix)]; ok {
			return h, "", nil
		}
	}
	if hex && len(prefix) == 64 { // the digest of a manifest or index stands for its image too
		d := digest.NewDigestFromEncoded(digest.SHA256, prefix)
		for _, r := range s.names {
			if r.Target.Digest == d {
				return s.images[r.ID], "", nil
			}
		}
		for _, h := range s.images {
			if h.rec.Manifest.Digest == d {
				return h, "", nil
			}
		}
	}
	named, nerr := parseRef(refOrID)
	if nerr == nil {
		for _, n := range lookups(refOrID, named) {
			if r, ok := s.names[n]; ok {
				return s.images[r.ID], n, nil
			}
		}
		// "repo@digest" also finds what was pulled by tag and has that manifest.
		if d, ok := named.(reference.Digested); ok {
			for n, r := range s.names {
				if repoOf(n) == named.Name() && (r.Target.Digest == d.Digest() || s.images[r.ID].rec.Manifest.Digest == d.Digest()) {
					return s.images[r.ID], n, nil
				}
			}
		}
	}
	if hex {
		var found *held
		for id, h := range s.images {
			if strings.HasPrefix(id.Encoded(), prefix) {
				if found != nil {
					return nil, "", fmt.Errorf("find image %s: %w", refOrID, ErrAmbiguous)
				}
				found = h
			}
		}
		if found != nil {
			return found, "", nil
		}
	}
	if nerr != nil && !hex {
		return nil, "", nerr
	}
	return nil, "", fmt.Errorf("find image %s: %w", refOrID, ErrNotFound)
}

// lookups lists the full names that a reference may mean here.
func lookups(ref string, named reference.Named) []string {
	names := []string{named.String()}
	if full, err := reference.ParseNormalizedNamed(ref); err == nil {
		if t, ok := full.(reference.NamedTagged); ok { // "repo:tag@digest": the tag is looked at only when the digest is unknown
			_, digested := full.(reference.Digested)
			if !digested {
				names = append(names, t.String())
			}
		}
	}
	return names
}

// List lists all images, newest first.
func (s *Store) List() []*Image {
	s.mu.RLock()
	defer s.mu.RUnlock()
	names := map[digest.Digest][]string{}
	for n, r := range s.names {
		names[r.ID] = append(names[r.ID], n)
	}
	all := make([]*Image, 0, len(s.images))
	for id, h := range s.images {
		all = append(all, viewWith(h, names[id]))
	}
	slices.SortFunc(all, func(a, b *Image) int {
		if c := builtAt(b).Compare(builtAt(a)); c != 0 {
			return c
		}
		return strings.Compare(string(a.ID), string(b.ID))
	})
	return all
}

func builtAt(i *Image) time.Time {
	if i.Config.Created != nil {
		return *i.Config.Created
	}
	return time.Time{}
}

// Tag gives the image that src names the name dst.
func (s *Store) Tag(ctx context.Context, src, dst string) error {
	named, err := reference.ParseNormalizedNamed(dst)
	if err != nil {
		return fmt.Errorf("tag image: read reference %q: %w: %w", dst, ErrInvalidReference, err)
	}
	if _, ok := named.(reference.Digested); ok {
		return fmt.Errorf("tag image: %w: %q has a digest", ErrInvalidReference, dst)
	}
	named = reference.TagNameOnly(named)
	s.mu.Lock()
	defer s.mu.Unlock()
	h, from, err := s.find(src)
	if err != nil {
		return err
	}
	target := h.rec.Manifest
	if r, ok := s.names[from]; ok {
		target = r.Target
	}
	rec := h.rec
	rec.Tagged = time.Now().UTC()
	err = s.apply(change{
		images: map[digest.Digest]*imageRecord{rec.ID: &rec},
		names:  map[string]*nameRecord{named.String(): {ID: rec.ID, Target: target}},
	}, nil)
	if err != nil {
		return fmt.Errorf("tag image %s as %s: %w", src, dst, err)
	}
	return nil
}

// MarkUsed notes that a container was started from the image, for prune filters. It is kept in memory and written with the next change.
func (s *Store) MarkUsed(id digest.Digest, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h, ok := s.images[id]; ok {
		n := *h
		n.rec.Used = at
		s.images[id] = &n
	}
}

// Used tells when the image was last used by a container; zero if never.
func (s *Store) Used(id digest.Digest) time.Time {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if h, ok := s.images[id]; ok {
		return h.rec.Used
	}
	return time.Time{}
}
