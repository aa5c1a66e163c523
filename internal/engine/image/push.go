package image

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"nau/internal/engine/image/remote"
)

// Push sends the image that ref names to its registry; the answer is the pushed manifest's descriptor. What the registry has is not sent, what
// another of its repositories has is mounted. An index goes whole if all of it is here, else this platform's manifest goes alone.
func (s *Store) Push(ctx context.Context, ref string, opts PushOptions) (ocispec.Descriptor, error) {
	named, err := parseRef(ref)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	auth, err := s.auth(reference.Domain(named), opts.Auth)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("push %s: %w", ref, err)
	}
	repo, err := s.remote.Repository(reference.Domain(named), reference.Path(named), auth)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("push %s: %w", ref, err)
	}
	p := &push{s: s, named: named, repo: repo, tell: opts.Progress, tag: refTag(named), platform: opts.Platform, ids: map[digest.Digest]string{}}
	if p.tell == nil {
		p.tell = func(Event) {}
	}
	desc, err := p.run(ctx)
	if err != nil {
		return desc, fmt.Errorf("push %s: %w", ref, err)
	}
	return desc, nil
}

type push struct {
	s     *Store
	named reference.Named
	repo  *remote.Repository
	tell  func(Event)
	tag   string
	ids   map[digest.Digest]string // how a layer is called: by what it unpacks to, where that is known

	platform *ocispec.Platform // nil = all that is here
}

func (p *push) run(ctx context.Context) (ocispec.Descriptor, error) {
	s := p.s
	s.mu.RLock()
	name := s.names[p.named.String()]
	var h *held
	if name != nil {
		h = s.images[name.ID]
	}
	s.mu.RUnlock()
	if h == nil {
		return ocispec.Descriptor{}, fmt.Errorf("%w: an image does not exist locally with the tag: %s", ErrNotFound, reference.FamiliarName(p.named))
	}
	p.tell(Event{Status: StatusPushTo + " [" + p.named.Name() + "]"})
	for i, l := range h.rec.Layers {
		p.ids[l.Digest] = shortID(h.rec.DiffIDs[i])
	}
	manifests, remembered, err := p.choose(h, name)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	target := manifests[len(manifests)-1]
	lease := s.cfg.Content.Lease()
	defer lease.Release()
	for _, d := range manifests {
		lease.Hold(d.Digest)
		if isIndex(d.MediaType) && d.Digest == target.Digest {
			continue // it goes by its tag
		}
		if err := p.manifest(ctx, d); err != nil {
			return target, err
		}
	}
	b, err := s.cfg.Content.ReadAll(target.Digest, remote.MaxManifest)
	if err != nil {
		return target, err
	}
	if err := p.repo.PutManifest(ctx, p.tag, target, b); err != nil {
		return target, err
	}
	p.tell(Event{Status: fmt.Sprintf("%s: digest: %s size: %d", p.tag, target.Digest, len(b)), Digest: target.Digest, Total: int64(len(b))})
	if !remembered {
		return target, nil
	}
	return target, p.remember(h.rec.ID, target)
}

// choose lists the manifests to push, what gets the tag last: the whole index if all of it is here, else the manifest of the host's platform, or of the
// one that is asked for. Of what is a part only no name is kept.
func (p *push) choose(h *held, name *nameRecord) (list []ocispec.Descriptor, keep bool, err error) {
	s := p.s
	s.mu.RLock()
	members := s.tree(name.Target).members(s.images)
	s.mu.RUnlock()
	if len(members) == 0 {
		members = []member{{held: h, desc: h.rec.Manifest, platform: h.platform()}}
	}
	if p.platform != nil {
		m, ok := fitting(members, normalise(*p.platform))
		if !ok {
			return nil, false, &NoPlatformError{*p.platform}
		}
		return []ocispec.Descriptor{m.desc}, !isIndex(name.Target.MediaType), nil
	}
	if !isIndex(name.Target.MediaType) {
		return []ocispec.Descriptor{h.rec.Manifest}, true, nil
	}
	if all, ok := p.whole(name.Target); ok {
		return all, true, nil
	}
	top, _ := leading(members, *s.cfg.Platform)
	p.tell(Event{Selected: &Selection{Index: name.Target, Manifest: top.desc}})
	return []ocispec.Descriptor{top.desc}, false, nil
}

// whole lists an index's manifests with the index last, if every blob of it is here.
func (p *push) whole(index ocispec.Descriptor) (list []ocispec.Descriptor, ok bool) {
	c := p.s.cfg.Content
	t := p.s.treeOf(index)
	for _, b := range t.branches {
		raw, err := c.ReadAll(b.desc.Digest, remote.MaxManifest)
		if err != nil {
			return nil, false
		}
		m, err := parseBeside(raw, b.desc.MediaType)
		if err != nil || m.manifest == nil {
			return nil, false
		}
		for _, l := range append(m.manifest.Layers, m.manifest.Config) {
			if !c.Has(l.Digest) {
				return nil, false
			}
		}
		list = append(list, b.desc)
	}
	for _, d := range slices.Backward(t.inner) { // the innermost first
		info, err := c.Stat(d)
		if err != nil {
			return nil, false
		}
		list = append(list, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: d, Size: info.Size})
	}
	return append(list, index), len(list) > 0
}

// manifest sends what a manifest names, and itself by digest if it is not the last one.
func (p *push) manifest(ctx context.Context, d ocispec.Descriptor) error {
	b, err := p.s.cfg.Content.ReadAll(d.Digest, remote.MaxManifest)
	if err != nil {
		return err
	}
	x, err := parseBeside(b, d.MediaType)
	if err != nil {
		return err
	}
	d.MediaType = x.media
	if x.manifest == nil { // an index: all that it names was sent before
		return p.repo.PutManifest(ctx, d.Digest.String(), d, b)
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(p.s.cfg.Downloads)
	seen := map[digest.Digest]bool{}
	for i := len(x.manifest.Layers); i >= 0; i-- { // the topmost layer first
		l := x.manifest.Config
		if i < len(x.manifest.Layers) {
			l = x.manifest.Layers[i]
		}
		if seen[l.Digest] {
			continue
		}
		seen[l.Digest] = true
		quiet := l.Digest == x.manifest.Config.Digest
		if !quiet {
			p.tell(Event{ID: p.id(l.Digest), Status: StatusPreparing})
		}
		g.Go(func() error { return p.blob(gctx, l, quiet) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	d.MediaType = x.media
	return p.repo.PutManifest(ctx, d.Digest.String(), d, b)
}

// id is how a client is told of a layer.
func (p *push) id(d digest.Digest) string {
	if id, ok := p.ids[d]; ok {
		return id
	}
	return shortID(d)
}

func (p *push) blob(ctx context.Context, l ocispec.Descriptor, quiet bool) error {
	id := p.id(l.Digest)
	tell := func(status string, current, total int64) {
		if !quiet {
			p.tell(Event{ID: id, Status: status, Current: current, Total: total})
		}
	}
	has, err := p.repo.HasBlob(ctx, l.Digest)
	if err != nil {
		return err
	}
	if has {
		tell(StatusPushExists, 0, 0)
		return nil
	}
	from := p.elsewhere(l.Digest)
	mounted, err := p.repo.Upload(ctx, l, from, func() (io.ReadCloser, error) {
		f, err := p.s.cfg.Content.Blob(l.Digest)
		if err != nil {
			return nil, err
		}
		return &pushReader{f: f, tell: func(n int64) { tell(StatusPushing, n, l.Size) }}, nil
	})
	switch {
	case err != nil:
		return err
	case mounted && from != "":
		tell(StatusMounted+" "+from, 0, 0)
	default:
		tell(StatusPushed, 0, 0)
	}
	return nil
}

// elsewhere finds another repository of the same registry that had the blob when we last saw it.
func (p *push) elsewhere(d digest.Digest) string {
	s := p.s
	s.mu.RLock()
	defer s.mu.RUnlock()
	host := reference.Domain(p.named)
	for n, r := range s.names {
		if !isDigestName(n) { // only a digest's name is proof that the registry has it
			continue
		}
		named, err := reference.ParseNormalizedNamed(n)
		if err != nil || reference.Domain(named) != host || named.Name() == p.named.Name() {
			continue
		}
		for _, l := range s.images[r.ID].rec.Layers {
			if l.Digest == d {
				return reference.Path(named)
			}
		}
	}
	return ""
}

// remember notes the digest under which the registry has the image now.
func (p *push) remember(id digest.Digest, target ocispec.Descriptor) error {
	s := p.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.images[id] == nil {
		return nil // removed meanwhile
	}
	name := p.named.Name() + "@" + target.Digest.String()
	if s.names[name] != nil {
		return nil
	}
	return s.apply(change{names: map[string]*nameRecord{name: {ID: id, Target: target}}}, nil)
}

type pushReader struct {
	f    *os.File
	at   int64
	last time.Time
	tell func(int64)
}

func (r *pushReader) Read(b []byte) (int, error) {
	n, err := r.f.Read(b)
	r.at += int64(n)
	if now := time.Now(); now.Sub(r.last) >= progressEvery {
		r.last = now
		r.tell(r.at)
	}
	return n, err
}

func (r *pushReader) Close() error { return r.f.Close() }
