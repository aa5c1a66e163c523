package image

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"nau/internal/engine/image/remote"
)

// Fetch makes sure that a layer is here, unpacked, and kept for the time of the work; open reads its blob where it is.
func (w *Work) Fetch(ctx context.Context, l LayerBlob, open func(context.Context) (io.ReadCloser, error)) error {
	w.blobs.Hold(l.Blob.Digest)
	w.layers.Hold(l.DiffID)
	if !w.s.cfg.Content.Has(l.Blob.Digest) {
		r, err := open(ctx)
		if err != nil {
			return fmt.Errorf("fetch layer %s: %w", l.Blob.Digest, err)
		}
		err = w.s.cfg.Content.PutAs(l.Blob.Digest, io.LimitReader(r, l.Blob.Size+1))
		if err = errors.Join(err, r.Close()); err != nil {
			return fmt.Errorf("fetch layer %s: %w", l.Blob.Digest, err)
		}
	}
	if _, err := w.s.unpackBlob(ctx, l.DiffID, l.Blob.Digest); err != nil {
		return fmt.Errorf("fetch layer %s: %w", l.Blob.Digest, err)
	}
	return nil
}

// Open reads a blob that is here.
func (s *Store) Open(d digest.Digest) (io.ReadCloser, error) { return s.cfg.Content.Blob(d) }

// Manifest makes the manifest of a configuration and layers.
func Manifest(config []byte, media string, layers []ocispec.Descriptor) (manifest []byte, desc, conf ocispec.Descriptor, err error) {
	conf = ocispec.Descriptor{MediaType: media, Digest: digest.FromBytes(config), Size: int64(len(config))}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: conf, Layers: layers}
	if m.Layers == nil {
		m.Layers = []ocispec.Descriptor{}
	}
	if manifest, err = json.Marshal(m); err != nil {
		return nil, desc, conf, err
	}
	return manifest, ocispec.Descriptor{MediaType: m.MediaType, Digest: digest.FromBytes(manifest), Size: int64(len(manifest))}, conf, nil
}

// PushArtifact puts what is no image — a configuration of some media type, with layers that are here — under a name in its registry.
func (s *Store) PushArtifact(ctx context.Context, ref string, config []byte, media string, layers []ocispec.Descriptor, given *Auth) (ocispec.Descriptor, error) {
	fail := func(err error) (ocispec.Descriptor, error) {
		return ocispec.Descriptor{}, fmt.Errorf("push %s: %w", ref, err)
	}
	repo, tag, err := s.repository(ref, given)
	if err != nil {
		return fail(err)
	}
	manifest, desc, conf, err := Manifest(config, media, layers)
	if err != nil {
		return fail(err)
	}
	put := func(d ocispec.Descriptor, open func() (io.ReadCloser, error)) error {
		has, err := repo.HasBlob(ctx, d.Digest)
		if err != nil || has {
			return err
		}
		_, err = repo.Upload(ctx, d, "", open)
		return err
	}
	for _, l := range layers {
		if err := put(l, func() (io.ReadCloser, error) { return s.cfg.Content.Blob(l.Digest) }); err != nil {
			return fail(err)
		}
	}
	if err := put(conf, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(config)), nil }); err != nil {
		return fail(err)
	}
	if err := repo.PutManifest(ctx, tag, desc, manifest); err != nil {
		return fail(err)
	}
	return desc, nil
}

// PullConfig reads the configuration of what a name means at its registry, without layers, and a way to read the layers.
func (s *Store) PullConfig(ctx context.Context, ref string, platform ocispec.Platform, given *Auth) (config []byte, open func(context.Context, ocispec.Descriptor) (io.ReadCloser, error), err error) {
	fail := func(err error) ([]byte, func(context.Context, ocispec.Descriptor) (io.ReadCloser, error), error) {
		return nil, nil, fmt.Errorf("pull %s: %w", ref, err)
	}
	repo, tag, err := s.repository(ref, given)
	if err != nil {
		return fail(err)
	}
	for range 3 { // an index, perhaps of indexes, then a manifest
		desc, b, err := repo.Manifest(ctx, tag)
		if err != nil {
			return fail(err)
		}
		x, err := parseManifest(b, desc.MediaType)
		if err != nil {
			return fail(err)
		}
		if x.manifest != nil {
			if config, err = repo.ReadBlob(ctx, x.manifest.Config.Digest, remote.MaxManifest); err != nil {
				return fail(err)
			}
			return config, func(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
				r, w := io.Pipe()
				go func() { w.CloseWithError(repo.Download(ctx, d.Digest, 0, d.Size, w, nil)) }()
				return r, nil
			}, nil
		}
		c, ok := choose(x.index.Manifests, normalise(platform))
		if !ok {
			return fail(ErrNoPlatform)
		}
		tag = c.Digest.String()
	}
	return fail(fmt.Errorf("%w: indexes nested too deeply", ErrUnsupported))
}

func (s *Store) repository(ref string, given *Auth) (repo *remote.Repository, tag string, err error) {
	named, err := parseRef(ref)
	if err != nil {
		return nil, "", err
	}
	auth, err := s.auth(reference.Domain(named), given)
	if err != nil {
		return nil, "", err
	}
	repo, err = s.remote.Repository(reference.Domain(named), reference.Path(named), auth)
	return repo, refTag(named), err
}
