package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"nau/internal/engine/content"
	"nau/internal/engine/content/hold"
	"nau/internal/engine/image/remote"
	"nau/internal/engine/layer"
)

// Pull brings the image that ref names ("nginx", "10.0.0.1:5000/app:v1", "x@sha256:…") and unpacks it. Concurrent pulls of one thing share the work.
func (s *Store) Pull(ctx context.Context, ref string, opts PullOptions) (*Image, error) {
	named, err := parseRef(ref)
	if err != nil {
		return nil, err
	}
	platform := *s.cfg.Platform
	if opts.Platform != nil {
		platform = normalise(*opts.Platform)
	}
	auth, err := s.auth(reference.Domain(named), opts.Auth)
	if err != nil {
		return nil, fmt.Errorf("pull %s: %w", ref, err)
	}
	key := fmt.Sprintf("%s %s/%s/%s %t %q", named, platform.OS, platform.Architecture, platform.Variant, opts.Said, auth)
	img, err := s.flights.join(ctx, key, opts.Progress, func(ctx context.Context, progress func(Event)) (*Image, error) {
		p := &pull{s: s, named: named, platform: platform, auth: auth, said: opts.Said, progress: progress, blobs: s.cfg.Content.Lease(), layers: s.cfg.Layers.Lease()}
		defer p.blobs.Release()
		defer p.layers.Release()
		return p.run(ctx)
	})
	if err != nil {
		return nil, fmt.Errorf("pull %s: %w", ref, err)
	}
	return img, nil
}

func (s *Store) auth(host string, given *Auth) (Auth, error) {
	if given != nil {
		return *given, nil
	}
	if s.cfg.Creds == nil {
		return Auth{}, nil
	}
	a, err := s.cfg.Creds(host)
	if err != nil {
		return Auth{}, fmt.Errorf("find credentials of %s: %w", host, err)
	}
	if a == nil {
		return Auth{}, nil
	}
	return *a, nil
}

// pull is the state of one.
type pull struct {
	s        *Store
	named    reference.Named
	platform ocispec.Platform
	auth     Auth
	said     bool // bring what an index says about the image too
	repo     *remote.Repository
	blobs    *hold.Lease[digest.Digest]
	layers   *hold.Lease[digest.Digest]

	progress func(Event)
}

func (p *pull) tell(e Event) {
	if p.progress != nil {
		p.progress(e)
	}
}

func (p *pull) run(ctx context.Context) (*Image, error) {
	var err error
	if p.repo, err = p.s.remote.Repository(reference.Domain(p.named), reference.Path(p.named), p.auth); err != nil {
		return nil, err
	}
	tag := refTag(p.named)
	target, manifest, m, err := p.manifest(ctx, tag)
	if err != nil {
		return nil, err
	}
	img, err := p.layersOf(ctx, manifest, m)
	if err != nil {
		return nil, err
	}
	if p.said {
		if err := p.statements(ctx, target, manifest.Digest); err != nil {
			return nil, err
		}
	}
	fresh, err := p.record(img, target)
	if err != nil {
		return nil, err
	}
	p.tell(Event{Status: "Digest: " + target.Digest.String(), Digest: target.Digest})
	status := StatusUpToDate
	if fresh {
		status = StatusNewer
	}
	p.tell(Event{Status: status + reference.FamiliarString(p.named)})
	p.s.mu.RLock()
	defer p.s.mu.RUnlock()
	h := p.s.images[img.rec.ID]
	if h == nil {
		return nil, fmt.Errorf("%w: %s was removed meanwhile", ErrNotFound, img.rec.ID)
	}
	return p.s.view(h, p.named.String()), nil
}

// manifest finds the platform's manifest: what the name means, the manifest itself, and its content.
func (p *pull) manifest(ctx context.Context, tag string) (target, desc ocispec.Descriptor, m *ocispec.Manifest, err error) {
	target, data, err := p.first(ctx, tag)
	if err != nil {
		return target, desc, nil, err
	}
	desc = target
	for depth := 0; ; depth++ {
		x, err := parseManifest(data, desc.MediaType)
		if err != nil {
			return target, desc, nil, err
		}
		desc.MediaType = x.media
		if depth == 0 {
			target.MediaType = x.media
			id := tag
			if _, ok := p.named.(reference.Digested); ok {
				id = reference.FamiliarString(p.named)
			}
			p.tell(Event{ID: id, Status: StatusPulling + reference.Path(p.named)}) // there is something to pull
		}
		if x.manifest != nil {
			return target, desc, x.manifest, nil
		}
		child, ok := choose(x.index.Manifests, p.platform)
		if !ok || depth == 3 {
			return target, desc, nil, fmt.Errorf("%w: %s/%s is not among %d manifests", ErrNoPlatform, p.platform.OS, p.platform.Architecture, len(x.index.Manifests))
		}
		next, b, err := p.get(ctx, child.Digest.String())
		if err != nil {
			return target, desc, nil, err
		}
		if next.MediaType == "" {
			next.MediaType = child.MediaType
		}
		next.Platform = child.Platform
		desc, data = next, b
	}
}

// first brings what the name itself stands for. A digest that is here is taken without asking if this repository is known to have had it, not
// if another had: what a registry keeps for some is not had by naming it.
func (p *pull) first(ctx context.Context, tagOrDigest string) (ocispec.Descriptor, []byte, error) {
	p.s.mu.RLock()
	known := p.s.names[p.named.Name()+"@"+tagOrDigest] != nil
	p.s.mu.RUnlock()
	if known {
		return p.get(ctx, tagOrDigest)
	}
	return p.fetch(ctx, tagOrDigest)
}

// get brings a manifest, from the store where the digest is known, and keeps it.
func (p *pull) get(ctx context.Context, tagOrDigest string) (ocispec.Descriptor, []byte, error) {
	if d := digest.Digest(tagOrDigest); d.Validate() == nil {
		p.blobs.Hold(d)
		if b, err := p.s.cfg.Content.ReadAll(d, remote.MaxManifest); err == nil {
			return ocispec.Descriptor{Digest: d, Size: int64(len(b))}, b, nil
		}
	}
	return p.fetch(ctx, tagOrDigest)
}

func (p *pull) fetch(ctx context.Context, tagOrDigest string) (ocispec.Descriptor, []byte, error) {
	desc, b, err := p.repo.Manifest(ctx, tagOrDigest)
	if err != nil {
		return desc, nil, err
	}
	p.blobs.Hold(desc.Digest)
	return desc, b, p.keep(desc.Digest, b)
}

func (p *pull) keep(d digest.Digest, b []byte) error {
	if p.s.cfg.Content.Has(d) {
		return nil
	}
	i, err := p.s.cfg.Content.Begin("manifest "+d.String(), d.Algorithm())
	if errors.Is(err, content.ErrBusy) {
		_, err := p.s.cfg.Content.Put(b)
		return err
	}
	if err != nil {
		return err
	}
	defer i.Abort()
	if i.Offset() > 0 { // a crash's leftover: not worth resuming
		i.Abort()
		_, err := p.s.cfg.Content.Put(b)
		return err
	}
	if _, err := i.Write(b); err != nil {
		return err
	}
	_, err = i.Commit(d)
	return err
}

// layersOf brings configuration and layers.
func (p *pull) layersOf(ctx context.Context, desc ocispec.Descriptor, m *ocispec.Manifest) (*held, error) {
	raw, err := p.config(ctx, m.Config)
	if err != nil {
		return nil, err
	}
	h := &held{raw: raw}
	if h.config, err = parseConfig(raw, len(m.Layers)); err != nil {
		return nil, err
	}
	if desc.Platform == nil {
		desc.Platform = &ocispec.Platform{OS: h.config.OS, Architecture: h.config.Architecture, Variant: h.config.Variant, OSVersion: h.config.OSVersion}
	}
	desc.Platform = new(normalise(*desc.Platform))
	if h.config.OS != "" && h.config.OS != p.s.cfg.Platform.OS {
		return nil, fmt.Errorf("image operating system %q cannot be used on this platform: %w", h.config.OS, ErrForeign)
	}
	h.rec = imageRecord{ID: m.Config.Digest, Manifest: desc, Layers: m.Layers, DiffIDs: h.config.RootFS.DiffIDs, Sizes: make([]int64, len(m.Layers)), Created: time.Now().UTC()}
	p.layers.Hold(h.rec.DiffIDs...)
	for _, l := range m.Layers {
		p.blobs.Hold(l.Digest)
	}
	g, ctx := errgroup.WithContext(ctx)
	slots := make(chan struct{}, p.s.cfg.Downloads)
	// A layer that comes twice is worked on once. Of an image that is here nothing is told, as nothing happens.
	known := p.s.has(m.Config.Digest)
	first := map[digest.Digest]int{}
	for i, l := range m.Layers {
		if _, twice := first[h.rec.DiffIDs[i]]; twice {
			continue
		}
		first[h.rec.DiffIDs[i]] = i
		job := &layerJob{p: p, desc: l, diffID: h.rec.DiffIDs[i], id: shortID(l.Digest), slots: slots}
		switch {
		case !job.here():
			p.tell(Event{ID: job.id, Status: StatusPullingLayer})
			job.told = true
		case !known:
			job.tell(StatusExists, 0, 0)
		}
		g.Go(func() error {
			info, err := job.run(ctx)
			h.rec.Sizes[i] = info.Size
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for i, d := range h.rec.DiffIDs {
		h.rec.Sizes[i] = h.rec.Sizes[first[d]]
	}
	return h, nil
}

func (p *pull) config(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
	p.blobs.Hold(desc.Digest)
	if b, err := p.s.cfg.Content.ReadAll(desc.Digest, remote.MaxManifest); err == nil {
		return b, nil
	}
	b, err := p.repo.ReadBlob(ctx, desc.Digest, remote.MaxManifest)
	if err != nil {
		return nil, err
	}
	return b, p.keep(desc.Digest, b)
}

// record writes what was pulled; it tells whether the name means something new.
func (p *pull) record(h *held, target ocispec.Descriptor) (fresh bool, err error) {
	s := p.s
	s.mu.Lock()
	defer s.mu.Unlock()
	name := p.named.String()
	old := s.names[name]
	fresh = old == nil || old.Target.Digest != target.Digest
	now := time.Now().UTC()
	c := change{images: map[digest.Digest]*imageRecord{}, names: map[string]*nameRecord{}}
	h.rec.Pinned = p.said
	if have := s.images[h.rec.ID]; have != nil {
		h.rec.Pinned = have.rec.Pinned || p.said
		h.rec.Step, h.rec.Wanted = have.rec.Step, true
		h.rec.Created, h.rec.Parent, h.rec.Used, h.rec.Tagged, h.rec.Target = have.rec.Created, have.rec.Parent, have.rec.Used, have.rec.Tagged, have.rec.Target
	}
	byDigest := p.named.Name() + "@" + target.Digest.String()
	if !fresh && s.names[byDigest] != nil && s.images[h.rec.ID] != nil && s.images[h.rec.ID].rec.Manifest.Digest == h.rec.Manifest.Digest &&
		s.images[h.rec.ID].rec.Pinned == h.rec.Pinned && s.knows(target, h.rec.Manifest.Digest, p.said) {
		return false, nil // nothing to write: the usual end of an "always" pull
	}
	h.rec.Tagged = now
	if isIndex(target.MediaType) {
		h.rec.Target = target
	}
	rec := h.rec
	c.images[rec.ID] = &rec
	c.names[name] = &nameRecord{ID: rec.ID, Target: target}
	c.names[byDigest] = &nameRecord{ID: rec.ID, Target: target}
	return fresh, s.apply(c, map[digest.Digest]*held{rec.ID: h})
}

// has reports whether an image is here.
func (s *Store) has(id digest.Digest) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.images[id] != nil
}

// layerJob brings one layer: blob and unpacked directory.
type layerJob struct {
	p      *pull
	desc   ocispec.Descriptor
	diffID digest.Digest
	id     string
	slots  chan struct{}
	told   bool        // that it is to be brought
	quiet  atomic.Bool // still downloading: unpacking beside it is not told
}

func (j *layerJob) here() bool {
	_, ok := j.p.s.cfg.Layers.Has(j.diffID)
	return ok && j.p.s.cfg.Content.Has(j.desc.Digest)
}

func (j *layerJob) tell(status string, current, total int64) {
	j.p.tell(Event{ID: j.id, Status: status, Current: current, Total: total, Digest: j.desc.Digest})
}

func (j *layerJob) run(ctx context.Context) (layer.Info, error) {
	s := j.p.s
	if j.here() {
		if j.told { // somebody else has just brought it
			j.tell(StatusExists, 0, 0)
		}
		info, _ := s.cfg.Layers.Has(j.diffID)
		return info, nil
	}
	if s.cfg.Content.Has(j.desc.Digest) {
		f, err := s.cfg.Content.Blob(j.desc.Digest)
		if err == nil {
			defer f.Close()
			return j.finish(j.unpack(ctx, f))
		}
	}
	select {
	case j.slots <- struct{}{}:
	default:
		j.tell(StatusWaiting, 0, 0)
		select {
		case j.slots <- struct{}{}:
		case <-ctx.Done():
			return layer.Info{}, context.Cause(ctx)
		}
	}
	var once sync.Once
	release := func() { once.Do(func() { <-j.slots }) }
	defer release()
	for {
		info, err := j.download(ctx, release)
		if errors.Is(err, errTakeOver) && ctx.Err() == nil {
			continue
		}
		return info, err
	}
}

// errTakeOver: the pull that downloaded this blob for us gave up, its reasons are not ours.
var errTakeOver = errors.New("download given up by its owner")

// download brings the blob and unpacks it while it comes.
func (j *layerJob) download(ctx context.Context, release func()) (layer.Info, error) {
	s := j.p.s
	dl, owner := s.flights.begin(j.desc.Digest)
	leave := dl.watch(j.p.tell)
	defer leave()
	if !owner {
		select {
		case <-dl.done:
		case <-ctx.Done():
			return layer.Info{}, context.Cause(ctx)
		}
		leave()
		release()
		f, err := s.cfg.Content.Blob(j.desc.Digest)
		if errors.Is(err, content.ErrNotFound) {
			return layer.Info{}, errTakeOver
		}
		if err != nil {
			return layer.Info{}, err
		}
		defer f.Close()
		return j.finish(j.unpack(ctx, f))
	}
	return j.finish(j.own(ctx, dl, release))
}

func (j *layerJob) finish(info layer.Info, err error) (layer.Info, error) {
	if err == nil {
		j.tell(StatusPulled, 0, 0)
	}
	return info, err
}

func (j *layerJob) own(ctx context.Context, dl *download, release func()) (info layer.Info, err error) {
	s := j.p.s
	ended := false
	end := func(err error) {
		if !ended {
			ended = true
			s.flights.end(j.desc.Digest, dl, err)
		}
	}
	defer func() { end(err) }()
	tell := func(status string, current, total int64) {
		dl.tell(Event{ID: j.id, Status: status, Current: current, Total: total, Digest: j.desc.Digest})
	}
	i, err := s.cfg.Content.Begin("blob "+j.desc.Digest.String(), j.desc.Digest.Algorithm())
	if err != nil {
		return info, err
	}
	defer i.Close()
	if i.Offset() > j.desc.Size {
		i.Abort()
		return info, errTakeOver
	}
	j.quiet.Store(true)
	g, ctx := errgroup.WithContext(ctx)
	follow, err := i.Follow(ctx)
	if err != nil {
		return info, err
	}
	var bad error // of the bytes: whether they are those that were asked for is known at their end, and said first
	g.Go(func() error {
		defer follow.Close()
		var err error
		if info, err = j.unpack(ctx, follow); errors.Is(err, layer.ErrArchive) || errors.Is(err, layer.ErrDigest) || errors.Is(err, content.ErrInterrupted) {
			bad = err
			return nil
		}
		return err
	})
	g.Go(func() error {
		tell(StatusDownloading, i.Offset(), j.desc.Size)
		w := &progressWriter{w: i, at: i.Offset(), tell: func(n int64) { tell(StatusDownloading, n, j.desc.Size) }}
		err := j.p.repo.Download(ctx, j.desc.Digest, i.Offset(), j.desc.Size, w, func(_ error, in time.Duration) { tell(retryingIn(in), 0, 0) })
		if err != nil {
			return err
		}
		tell(StatusVerifying, 0, 0)
		switch _, err := i.Commit(j.desc.Digest); {
		case errors.Is(err, content.ErrDigest):
			return &CorruptLayerError{Digest: j.desc.Digest}
		case err != nil:
			return err
		}
		tell(StatusDownloaded, 0, 0)
		j.quiet.Store(false)
		release()
		end(nil)
		return nil
	})
	if err = g.Wait(); err == nil {
		err = bad
	}
	switch {
	case errors.Is(err, layer.ErrArchive) || errors.Is(err, layer.ErrDigest):
		i.Abort() // bytes that are no layer are not worth resuming
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		i.Abort() // a full disk needs the room more
	}
	return info, err
}

// retryingIn words how long a download waits before it is tried again.
func retryingIn(d time.Duration) string {
	if n := int(math.Ceil(d.Seconds())); n > 1 {
		return fmt.Sprintf("%s in %d seconds", StatusRetrying, n)
	}
	return StatusRetrying + " in 1 second"
}

// unpack unpacks one layer in one of the store's slots. An archive that still comes in holds its slot meanwhile: slots outnumber downloads where it
// matters, and a waiting reader costs nothing.
func (j *layerJob) unpack(ctx context.Context, r io.Reader) (layer.Info, error) {
	s := j.p.s
	select {
	case s.unpack <- struct{}{}:
		defer func() { <-s.unpack }()
	case <-ctx.Done():
		return layer.Info{}, context.Cause(ctx)
	}
	pr := &progressReader{r: r, tell: func(n int64) {
		if !j.quiet.Load() {
			j.tell(StatusExtracting, n, j.desc.Size)
		}
	}}
	return s.cfg.Layers.Apply(ctx, j.diffID, pr)
}

// progressWriter and progressReader tell at most ten times a second.
const progressEvery = 100 * time.Millisecond

type progressWriter struct {
	w    io.Writer
	at   int64
	last time.Time
	tell func(int64)
}

func (p *progressWriter) Write(b []byte) (int, error) {
	n, err := p.w.Write(b)
	p.at += int64(n)
	if now := time.Now(); now.Sub(p.last) >= progressEvery {
		p.last = now
		p.tell(p.at)
	}
	return n, err
}

type progressReader struct {
	r    io.Reader
	at   int64
	last time.Time
	tell func(int64)
}

func (p *progressReader) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.at += int64(n)
	if now := time.Now(); now.Sub(p.last) >= progressEvery {
		p.last = now
		p.tell(p.at)
	}
	return n, err
}
