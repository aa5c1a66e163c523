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
	trees  map[digest.Digest]*tree // of the indexes that names and records point to

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
	s := &Store{cfg: cfg, log: cfg.Log, remote: remote.New(cfg.Registries), images: map[digest.Digest]*held{}, trees: map[digest.Digest]*tree{}, unpack: make(chan struct{}, cfg.Unpacks)}
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
	s.names = names
	for _, r := range names {
		if isIndex(r.Target.MediaType) && s.trees[r.Target.Digest] == nil {
			s.trees[r.Target.Digest] = s.readTree(r.Target.Digest)
		}
	}
	for _, h := range s.images {
		if d := h.rec.Target; isIndex(d.MediaType) && s.trees[d.Digest] == nil {
			s.trees[d.Digest] = s.readTree(d.Digest)
		}
	}
	for n, r := range names { // a name shows what is left of what it stands for
		if s.images[r.ID] != nil {
			continue
		}
		if top, ok := leading(s.tree(r.Target).members(s.images), *s.cfg.Platform); ok {
			names[n] = &nameRecord{ID: top.rec.ID, Target: r.Target}
		} else {
			delete(names, n)
		}
		lost.names[n] = names[n]
	}
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
	}
	for d, t := range s.trees {
		mark(d)
		for _, index := range t.inner {
			mark(index)
		}
		for _, m := range t.members(s.images) {
			mark(m.desc.Digest)
			if m.desc.Digest != m.rec.Manifest.Digest {
				s.markParts(m.desc.Digest, mark)
			}
			for _, b := range t.said(m.desc.Digest) {
				mark(b.desc.Digest)
				for _, p := range b.parts {
					mark(p.Digest)
				}
			}
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
	if c.names == nil {
		c.names = map[string]*nameRecord{}
	}
	s.settle(c, fresh)
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
	s.pruneTrees()
	if f := s.changed.Load(); f != nil {
		(*f)()
	}
	return nil
}

// view makes the public form of an image that was asked for by a name, "" = by something else. The lock is held.
func (s *Store) view(h *held, name string) *Image {
	return s.viewWith(h, s.targetOf(h, name), s.namesOf(h.rec.ID))
}

func (s *Store) viewWith(h *held, target ocispec.Descriptor, names []string) *Image {
	img := &Image{
		ID: h.rec.ID, Config: h.config, RawConfig: h.raw, DiffIDs: h.rec.DiffIDs, Manifest: h.rec.Manifest, Target: target, Layers: h.rec.Layers,
		Parent: h.rec.Parent, Created: h.rec.Created, LastTagged: h.rec.Tagged, Pinned: h.rec.Pinned,
	}
	for _, n := range h.rec.Sizes {
		img.Size += n
	}
	for _, l := range h.rec.Layers {
		img.Compressed += l.Size
	}
	img.Content = img.Compressed + int64(len(h.raw)) + h.rec.Manifest.Size
	img.Total = img.Size + img.Content
	if t := s.tree(target); t != nil {
		for _, m := range t.members(s.images) {
			if m.rec.ID != img.ID {
				img.Beside = append(img.Beside, m.rec.ID)
				img.Total += m.total()
			}
		}
		img.Total += t.sizeOfSaid(s.images)
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

// total is the bytes of an image's blobs and of its unpacked layers.
func (h *held) total() (n int64) {
	for _, u := range h.rec.Sizes {
		n += u
	}
	for _, l := range h.rec.Layers {
		n += l.Size
	}
	return n + int64(len(h.raw)) + h.rec.Manifest.Size
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
	return s.view(h, name), name, nil
}

// Means reports whether a name or ID stands for an image now: for it alone, or for it among those of other platforms.
func (s *Store) Means(refOrID string, id digest.Digest) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	h, name, err := s.find(refOrID)
	if err != nil {
		return false
	}
	if h.rec.ID == id {
		return true
	}
	t := s.tree(s.targetOf(h, name))
	return t != nil && slices.ContainsFunc(t.members(s.images), func(m member) bool { return m.rec.ID == id })
}

// On is Get for a platform: the image of those that refOrID stands for, or of those beside the one that it names, which suits the platform
// best. ErrNoPlatform if there is an image and none of them does.
func (s *Store) On(refOrID string, want ocispec.Platform) (*Image, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	h, name, err := s.find(refOrID)
	if err != nil {
		return nil, err
	}
	m, ok := s.on(h, name, want)
	if !ok {
		return nil, fmt.Errorf("find image %s: %w", refOrID, &NoPlatformError{want})
	}
	img := s.view(m.held, name)
	img.Manifest = m.desc // as the index has it: the record may have come by another
	return img, nil
}

// on finds what was found for a platform. The lock is held.
func (s *Store) on(h *held, name string, want ocispec.Platform) (member, bool) {
	target := s.targetOf(h, name)
	members := s.tree(target).members(s.images)
	if len(members) == 0 {
		members = []member{{held: h, desc: h.rec.Manifest, platform: h.platform()}}
	}
	return fitting(members, normalise(want))
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
		if top, ok := leading(s.trees[d].members(s.images), *s.cfg.Platform); ok {
			return top.held, "", nil
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
				switch {
				case repoOf(n) != named.Name():
				case r.Target.Digest == d.Digest(), s.images[r.ID].rec.Manifest.Digest == d.Digest():
					return s.images[r.ID], n, nil
				default:
					for _, m := range s.tree(r.Target).members(s.images) {
						if m.desc.Digest == d.Digest() {
							return m.held, "", nil
						}
					}
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

// List lists all images, newest first; those of several platforms that a name stands for are one, with the others Beside it.
func (s *Store) List() []*Image {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := slices.DeleteFunc(s.list(), func(img *Image) bool { return !s.images[img.ID].shown() })
	slices.SortFunc(all, func(a, b *Image) int {
		if c := builtAt(b).Compare(builtAt(a)); c != 0 {
			return c
		}
		return strings.Compare(string(a.ID), string(b.ID))
	})
	return all
}

// list is List without an order. The lock is held.
func (s *Store) list() []*Image {
	names := map[digest.Digest][]string{}
	best := map[digest.Digest]string{} // of the names that stand for an index
	for n, r := range s.names {
		names[r.ID] = append(names[r.ID], n)
		branches := s.branchesOf(r.Target)
		if b, ok := best[r.ID]; len(branches) > 0 && (!ok || betterName(n, b)) {
			best[r.ID] = n
		}
		for _, b := range branches {
			if b.config != r.ID && s.images[b.config] != nil && !slices.Contains(names[b.config], n) {
				names[b.config] = append(names[b.config], n)
			}
		}
	}
	lead := s.leads()
	all := make([]*Image, 0, len(s.images))
	for id, h := range s.images {
		if lead[id] != id {
			continue
		}
		target := h.rec.Manifest
		if n, ok := best[id]; ok {
			target = s.names[n].Target
		} else if len(names[id]) == 0 && s.tree(h.rec.Target).names(id) {
			target = h.rec.Target
		}
		all = append(all, s.viewWith(h, target, names[id]))
	}
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
	target := s.targetOf(h, "")
	if r, ok := s.names[from]; ok {
		target = r.Target
	}
	rec := h.rec
	rec.Tagged, rec.Pinned, rec.Wanted = time.Now().UTC(), true, true
	err = s.apply(change{
		images: map[digest.Digest]*imageRecord{rec.ID: &rec},
		names:  map[string]*nameRecord{named.String(): {ID: rec.ID, Target: target}},
	}, nil)
	if err != nil {
		return fmt.Errorf("tag image %s as %s: %w", src, dst, err)
	}
	return nil
}

// Manifest tells the manifest of an image that is here.
func (s *Store) Manifest(id digest.Digest) (ocispec.Descriptor, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	h, ok := s.images[id]
	if !ok {
		return ocispec.Descriptor{}, false
	}
	return h.rec.Manifest, true
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
