package image

import (
	"archive/tar"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Gathering is images that belong together.
type Gathering struct {
	Images      []*Image
	Statements  [][]Statement // about each image; nil = none
	Index       bool          // name them as one; without an index there must be one image, about which nothing is said
	Annotations map[string]string
}

// Gather gives names to images that belong together. As an index they are named as one. The answer is what the names point to.
func (s *Store) Gather(ctx context.Context, g Gathering, names []string) (ocispec.Descriptor, error) {
	target, err := s.gather(ctx, g, names)
	if err != nil {
		return target, fmt.Errorf("name images: %w", err)
	}
	return target, nil
}

func (s *Store) gather(ctx context.Context, g Gathering, names []string) (ocispec.Descriptor, error) {
	w := s.Work()
	defer w.Done()
	main := g.Images[0]
	for _, img := range g.Images {
		w.Hold(img)
		if matches(platformOf(img), *s.cfg.Platform) {
			main = img
		}
	}
	target := main.Manifest
	if g.Index {
		x := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{}, Annotations: g.Annotations}
		for _, img := range g.Images {
			d := img.Manifest
			p := platformOf(img)
			d.Platform = &p
			x.Manifests = append(x.Manifests, d)
		}
		for i, list := range g.Statements {
			if len(list) == 0 {
				continue
			}
			d, err := w.attest(g.Images[i], list)
			if err != nil {
				return target, err
			}
			x.Manifests = append(x.Manifests, d)
		}
		raw, err := json.Marshal(x)
		if err != nil {
			return target, err
		}
		target = ocispec.Descriptor{MediaType: x.MediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
		w.blobs.Hold(target.Digest)
		if err := s.cfg.Content.PutBytes(target.Digest, raw); err != nil {
			return target, err
		}
		if err := s.cfg.Content.Settle(target.Digest); err != nil {
			return target, err
		}
	} else if len(g.Images) != 1 || len(g.Statements) > 0 {
		return target, fmt.Errorf("%w: %d images and %d statements without an index", ErrArchive, len(g.Images), len(g.Statements))
	}
	full, err := tagNames(names)
	if err != nil || len(full) == 0 {
		return target, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, img := range g.Images { // the main one last: it is written with the names
		if img.ID == main.ID {
			continue
		}
		if err := s.tie(img.ID, target, nil); err != nil {
			return target, err
		}
	}
	return target, s.tie(main.ID, target, full)
}

// tie notes what an image that is here came by, and names that. The lock is held.
func (s *Store) tie(id digest.Digest, target ocispec.Descriptor, names []string) error {
	h := s.images[id]
	if h == nil {
		return fmt.Errorf("find image %s: %w", id, ErrNotFound)
	}
	tied := *h
	_, err := s.enterLocked(&tied, target, names)
	return err
}

func platformOf(img *Image) ocispec.Platform {
	return normalise(ocispec.Platform{OS: img.Config.OS, Architecture: img.Config.Architecture, Variant: img.Config.Variant, OSVersion: img.Config.OSVersion, OSFeatures: img.Config.OSFeatures})
}

func matches(p, want ocispec.Platform) bool {
	return p.OS == want.OS && p.Architecture == want.Architecture
}

func manifestsOf(images []*Image) map[digest.Digest]bool {
	out := map[digest.Digest]bool{}
	for _, img := range images {
		out[img.Manifest.Digest] = true
	}
	return out
}

// Blobs gives every blob of images and of target, the manifest or index that names them, to f, each once.
func (s *Store) Blobs(images []*Image, target ocispec.Descriptor, f func(d ocispec.Descriptor, open func() (io.ReadCloser, error)) error) error {
	seen := map[digest.Digest]bool{}
	one := func(d ocispec.Descriptor) error {
		if seen[d.Digest] {
			return nil
		}
		seen[d.Digest] = true
		info, err := s.cfg.Content.Stat(d.Digest)
		if err != nil {
			return err
		}
		d.Size = info.Size
		return f(d, func() (io.ReadCloser, error) { return s.cfg.Content.Blob(d.Digest) })
	}
	for _, img := range images {
		for _, d := range append(slices.Clone(img.Layers), ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: img.ID}, img.Manifest) {
			if err := one(d); err != nil {
				return err
			}
		}
	}
	for _, d := range s.statements(target, manifestsOf(images)) {
		if err := one(d); err != nil {
			return err
		}
	}
	return one(target)
}

// ExportAs writes images as Export does, under names that they need not have here; target is their manifest, or the index that names them.
func (s *Store) ExportAs(ctx context.Context, w io.Writer, images []*Image, target ocispec.Descriptor, names []string) error {
	work := s.Work()
	defer work.Done()
	x := &exported{target: target, names: names}
	host := 0
	for i, img := range images {
		work.Hold(img)
		s.mu.RLock()
		h := s.images[img.ID]
		s.mu.RUnlock()
		if h == nil {
			return fmt.Errorf("export images: find image %s: %w", img.ID, ErrNotFound)
		}
		rec := h.rec
		rec.Manifest = img.Manifest
		x.recs = append(x.recs, rec)
		if matches(platformOf(img), *s.cfg.Platform) {
			host = i
		}
	}
	x.shown = x.recs[host]
	x.said = s.statements(target, manifestsOf(images))
	if err := s.writeArchive(ctx, tar.NewWriter(w), []*exported{x}); err != nil {
		return fmt.Errorf("export images: %w", err)
	}
	return nil
}
