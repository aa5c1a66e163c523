package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"crypto/rand"

	"github.com/distribution/reference"
	"github.com/klauspost/compress/gzip"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"nau/internal/engine/content/hold"
	"nau/internal/engine/image/remote"
	"nau/internal/engine/layer"
)

// Work makes images here, out of parts. What it has added is safe from collection until Done, whether an image names it by then or not. A
// builder keeps one Work for a whole build.
type Work struct {
	s      *Store
	blobs  *hold.Lease[digest.Digest]
	layers *hold.Lease[digest.Digest]
}

// LayerBlob names one layer: its blob, and the digest of its uncompressed archive.
type LayerBlob struct {
	Blob   ocispec.Descriptor
	DiffID digest.Digest
}

// CreateOptions describe an image made of layers that are here.
type CreateOptions struct {
	Config      []byte      // the configuration blob; its rootfs.diff_ids must name the layers
	Layers      []LayerBlob // bottom first, one per diff ID
	Names       []string    // names to give it
	Parent      digest.Digest
	Annotations map[string]string
	Step        bool // what a build keeps on its way: no image that anybody asked for
}

// Work begins.
func (s *Store) Work() *Work {
	return &Work{s: s, blobs: s.cfg.Content.Lease(), layers: s.cfg.Layers.Lease()}
}

// Done lets go. Calling it twice is no error.
func (w *Work) Done() {
	w.blobs.Release()
	w.layers.Release()
}

// Hold keeps layers of existing images for the time of the work.
func (w *Work) Hold(img *Image) {
	w.layers.Hold(img.DiffIDs...)
	w.blobs.Hold(img.ID, img.Manifest.Digest)
	for _, l := range img.Layers {
		w.blobs.Hold(l.Digest)
	}
}

// AddLayer reads an uncompressed layer archive to its end: it is unpacked, and kept as a gzip blob.
func (w *Work) AddLayer(ctx context.Context, r io.Reader) (LayerBlob, error) {
	l, err := w.addLayer(ctx, r)
	if err != nil {
		return l, fmt.Errorf("add layer: %w", err)
	}
	return l, nil
}

func (w *Work) addLayer(ctx context.Context, r io.Reader) (LayerBlob, error) {
	i, err := w.s.cfg.Content.Begin("layer "+rand.Text(), digest.SHA256)
	if err != nil {
		return LayerBlob{}, err
	}
	defer i.Abort()
	// One reading feeds both: the unpacker and the compressor.
	pr, pw := io.Pipe()
	type answer struct {
		info layer.Info
		err  error
	}
	done := make(chan answer, 1)
	go func() {
		info, err := w.s.cfg.Layers.Apply(ctx, "", pr, w.layers)
		pr.CloseWithError(errors.Join(err, io.ErrClosedPipe))
		done <- answer{info, err}
	}()
	sum := digest.SHA256.Digester()
	z, err := gzip.NewWriterLevel(i, gzip.BestSpeed)
	if err != nil {
		return LayerBlob{}, err
	}
	_, err = io.CopyBuffer(io.MultiWriter(pw, z, sum.Hash()), struct{ io.Reader }{r}, make([]byte, 128<<10))
	if cerr := z.Close(); err == nil {
		err = cerr
	}
	pw.CloseWithError(err) // nil is io.EOF
	a := <-done
	if a.err != nil {
		return LayerBlob{}, a.err
	}
	if err != nil {
		return LayerBlob{}, err
	}
	size := i.Offset()
	w.blobs.Hold(i.Digest())
	d, err := i.Commit("")
	if err != nil {
		return LayerBlob{}, err
	}
	return LayerBlob{Blob: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: d, Size: size}, DiffID: sum.Digest()}, nil
}

// Create makes an image out of layers that are here, and makes it durable.
func (w *Work) Create(ctx context.Context, opts CreateOptions) (*Image, error) {
	img, err := w.create(ctx, opts)
	if err != nil {
		return nil, fmt.Errorf("create image: %w", err)
	}
	return img, nil
}

func (w *Work) create(ctx context.Context, opts CreateOptions) (*Image, error) {
	names, err := tagNames(opts.Names)
	if err != nil {
		return nil, err
	}
	s := w.s
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Layers: []ocispec.Descriptor{}, Annotations: opts.Annotations}
	for _, l := range opts.Layers {
		m.Layers = append(m.Layers, l.Blob)
	}
	m.Config = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(opts.Config), Size: int64(len(opts.Config))}
	raw, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	desc := ocispec.Descriptor{MediaType: m.MediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	w.blobs.Hold(m.Config.Digest, desc.Digest)
	if _, err := s.cfg.Content.Put(opts.Config); err != nil {
		return nil, err
	}
	if _, err := s.cfg.Content.Put(raw); err != nil {
		return nil, err
	}
	h, err := w.adopt(ctx, desc, &m)
	if err != nil {
		return nil, err
	}
	h.rec.Parent, h.rec.Step = opts.Parent, opts.Step
	if err := s.promise(h); err != nil {
		return nil, err
	}
	return s.enter(h, desc, names)
}

// tagNames normalises names to give, each once; all bad ones are reported.
func tagNames(names []string) ([]string, error) {
	var out []string
	var errs []error
	for _, n := range names {
		named, err := reference.ParseNormalizedNamed(n)
		if err != nil {
			errs = append(errs, fmt.Errorf("read reference %q: %w: %w", n, ErrInvalidReference, err))
			continue
		}
		if full := reference.TagNameOnly(named).String(); !slices.Contains(out, full) {
			out = append(out, full)
		}
	}
	return out, errors.Join(errs...)
}

// adopt makes a record of a manifest whose blobs are all here, unpacking what is not.
func (w *Work) adopt(ctx context.Context, desc ocispec.Descriptor, m *ocispec.Manifest) (*held, error) {
	s := w.s
	raw, err := s.cfg.Content.ReadAll(m.Config.Digest, remote.MaxManifest)
	if err != nil {
		return nil, err
	}
	h := &held{raw: raw}
	if h.config, err = parseConfig(raw, len(m.Layers)); err != nil {
		return nil, err
	}
	desc.Platform = new(normalise(ocispec.Platform{OS: h.config.OS, Architecture: h.config.Architecture, Variant: h.config.Variant}))
	now := time.Now().UTC()
	h.rec = imageRecord{ID: m.Config.Digest, Manifest: desc, Layers: m.Layers, DiffIDs: h.config.RootFS.DiffIDs, Sizes: make([]int64, len(m.Layers)), Created: now, Pinned: true}
	w.blobs.Hold(h.rec.ID, desc.Digest)
	w.layers.Hold(h.rec.DiffIDs...)
	var jobs []func(context.Context) error
	for i, l := range m.Layers {
		w.blobs.Hold(l.Digest)
		jobs = append(jobs, func(ctx context.Context) error {
			if !s.cfg.Content.Has(l.Digest) {
				return badArchive("layer %q not found", l.Digest)
			}
			info, err := s.unpackBlob(ctx, h.rec.DiffIDs[i], l.Digest)
			h.rec.Sizes[i] = info.Size
			return err
		})
	}
	return h, together(ctx, jobs)
}

func (s *Store) unpackBlob(ctx context.Context, diffID, blob digest.Digest) (layer.Info, error) {
	if info, ok := s.cfg.Layers.Has(diffID); ok {
		return info, nil
	}
	select {
	case s.unpack <- struct{}{}:
		defer func() { <-s.unpack }()
	case <-ctx.Done():
		return layer.Info{}, context.Cause(ctx)
	}
	f, err := s.cfg.Content.Blob(blob)
	if err != nil {
		return layer.Info{}, err
	}
	defer f.Close()
	return s.cfg.Layers.Apply(ctx, diffID, f)
}

// promise makes an image's blobs durable: what was made here can be had nowhere else. Layers unpack again from them.
func (s *Store) promise(h *held) error {
	all := []digest.Digest{h.rec.ID, h.rec.Manifest.Digest}
	for _, l := range h.rec.Layers {
		all = append(all, l.Digest)
	}
	return s.cfg.Content.Settle(all...)
}

// enter writes a record under names.
func (s *Store) enter(h *held, target ocispec.Descriptor, names []string) (*Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.enterLocked(h, target, names)
}

func (s *Store) enterLocked(h *held, target ocispec.Descriptor, names []string) (*Image, error) {
	if have := s.images[h.rec.ID]; have != nil {
		h.rec.Created, h.rec.Used, h.rec.Tagged, h.rec.Target = have.rec.Created, have.rec.Used, have.rec.Tagged, have.rec.Target
		if h.rec.Parent == "" {
			h.rec.Parent = have.rec.Parent
		}
		h.rec.Wanted = !h.rec.Step || have.shown()
		h.rec.Step = h.rec.Step || have.rec.Step
	}
	if len(names) > 0 {
		h.rec.Tagged = time.Now().UTC()
	}
	if isIndex(target.MediaType) {
		h.rec.Target = target
	}
	rec := h.rec
	c := change{images: map[digest.Digest]*imageRecord{rec.ID: &rec}, names: map[string]*nameRecord{}}
	for _, n := range names {
		c.names[n] = &nameRecord{ID: rec.ID, Target: target}
	}
	if err := s.apply(c, map[digest.Digest]*held{rec.ID: h}); err != nil {
		return nil, err
	}
	return s.view(s.images[rec.ID], ""), nil
}

// Commit makes an image of a snapshot's changes over the image parent ("" = over nothing; docker commit). In config, rootfs and history are
// completed here: entry is the new layer's line of history.
func (s *Store) Commit(ctx context.Context, key string, parent digest.Digest, config dockerspec.DockerOCIImage, entry ocispec.History, name string) (*Image, error) {
	w := s.Work()
	defer w.Done()
	var base *Image
	if parent != "" {
		var err error
		if base, err = s.Get(parent.String()); err != nil {
			return nil, fmt.Errorf("commit snapshot %s: %w", key, err)
		}
		w.Hold(base)
	}
	pr, pw := io.Pipe()
	go func() { pw.CloseWithError(s.diff(ctx, key, pw)) }()
	l, err := w.AddLayer(ctx, pr)
	pr.CloseWithError(io.ErrClosedPipe)
	if err != nil {
		return nil, fmt.Errorf("commit snapshot %s: %w", key, err)
	}
	opts := CreateOptions{Parent: parent}
	config.RootFS = ocispec.RootFS{Type: "layers"}
	config.History = nil
	if base != nil {
		for i, d := range base.DiffIDs {
			opts.Layers = append(opts.Layers, LayerBlob{base.Layers[i], d})
		}
		config.RootFS.DiffIDs = slices.Clone(base.DiffIDs)
		config.History = slices.Clone(base.Config.History)
	}
	opts.Layers = append(opts.Layers, l)
	config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.DiffID)
	config.History = append(config.History, entry)
	if name != "" {
		opts.Names = []string{name}
	}
	if opts.Config, err = json.Marshal(config); err != nil {
		return nil, fmt.Errorf("commit snapshot %s: %w", key, err)
	}
	return w.Create(ctx, opts)
}

// diff writes what a container changed, without what its runtime made to mount on.
func (s *Store) diff(ctx context.Context, key string, w io.Writer) error {
	changes, err := s.cfg.Layers.Changes(ctx, key)
	if err != nil {
		return err
	}
	pr, pw := io.Pipe()
	go func() { pw.CloseWithError(s.cfg.Layers.Diff(ctx, key, pw)) }()
	err = layer.Rewrite(w, pr, layer.Stubs(changes, layer.RuntimeTargets), nil)
	pr.CloseWithError(io.ErrClosedPipe)
	return err
}

// ImportRootFS makes an image of one layer out of a root file system archive in any compression (docker import).
func (s *Store) ImportRootFS(ctx context.Context, r io.Reader, config dockerspec.DockerOCIImage, entry ocispec.History, name string) (*Image, error) {
	w := s.Work()
	defer w.Done()
	plain, err := layer.Decompress(r)
	if err != nil {
		return nil, fmt.Errorf("import root file system: %w", err)
	}
	defer plain.Close()
	l, err := w.AddLayer(ctx, plain)
	if err != nil {
		return nil, fmt.Errorf("import root file system: %w", err)
	}
	config.RootFS = ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{l.DiffID}}
	config.History = []ocispec.History{entry}
	opts := CreateOptions{Layers: []LayerBlob{l}}
	if name != "" {
		opts.Names = []string{name}
	}
	if opts.Config, err = json.Marshal(config); err != nil {
		return nil, fmt.Errorf("import root file system: %w", err)
	}
	return w.Create(ctx, opts)
}
