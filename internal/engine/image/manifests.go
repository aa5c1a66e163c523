package image

import (
	"context"
	"fmt"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"nau/internal/engine/image/remote"
)

// Tags lists the tags that a registry has of a repository.
func (s *Store) Tags(ctx context.Context, repository string, given *Auth) ([]string, error) {
	named, err := parseRef(repository)
	if err != nil {
		return nil, err
	}
	auth, err := s.auth(reference.Domain(named), given)
	if err != nil {
		return nil, err
	}
	r, err := s.remote.Repository(reference.Domain(named), reference.Path(named), auth)
	if err != nil {
		return nil, err
	}
	return r.Tags(ctx)
}

// ManifestInfo is one manifest that an image's name stands for.
type ManifestInfo struct {
	Descriptor  ocispec.Descriptor
	Platform    ocispec.Platform
	Attests     digest.Digest // of an attestation: the manifest that it is about
	Available   bool          // manifest, configuration and layers are here
	Content     int64         // bytes of its blobs that are here
	Unpacked    int64         // bytes of its unpacked layers, of the image's own manifest
	ImageConfig digest.Digest // "" where the manifest is not here
}

// Manifests lists what an image's names stand for: the manifests of the index that it came by, or its own alone.
func (s *Store) Manifests(img *Image) ([]ManifestInfo, error) {
	s.mu.RLock()
	target := img.Manifest
	for _, n := range s.names {
		if n.ID == img.ID && n.Target.Digest != "" && isIndex(n.Target.MediaType) {
			target = n.Target
			break
		}
	}
	s.mu.RUnlock()
	list := []ocispec.Descriptor{img.Manifest}
	if isIndex(target.MediaType) && s.cfg.Content.Has(target.Digest) {
		b, err := s.cfg.Content.ReadAll(target.Digest, remote.MaxManifest)
		if err != nil {
			return nil, fmt.Errorf("read index %s: %w", target.Digest, err)
		}
		x, err := parseManifest(b, target.MediaType)
		if err != nil {
			return nil, err
		}
		if x.index != nil {
			list = x.index.Manifests
		}
	}
	var out []ManifestInfo
	for _, d := range list {
		out = append(out, s.manifestInfo(img, d))
	}
	return out, nil
}

func (s *Store) manifestInfo(img *Image, d ocispec.Descriptor) ManifestInfo {
	m := ManifestInfo{Descriptor: d}
	if d.Platform != nil {
		m.Platform = *d.Platform
	}
	if attestation(d) {
		m.Attests = digest.Digest(d.Annotations["vnd.docker.reference.digest"])
	}
	if d.Digest == img.Manifest.Digest {
		m.Platform = ocispec.Platform{OS: img.Config.OS, Architecture: img.Config.Architecture, Variant: img.Config.Variant, OSVersion: img.Config.OSVersion}
		m.Unpacked, m.ImageConfig, m.Available = img.Size, img.ID, true // it is unpacked, whether its blobs are here or not
	}
	if !s.cfg.Content.Has(d.Digest) {
		return m
	}
	m.Content = d.Size
	b, err := s.cfg.Content.ReadAll(d.Digest, remote.MaxManifest)
	if err != nil {
		return m
	}
	x, err := parseManifest(b, d.MediaType)
	if err != nil || x.manifest == nil {
		return m
	}
	m.ImageConfig = x.manifest.Config.Digest
	all := true
	for _, p := range append([]ocispec.Descriptor{x.manifest.Config}, x.manifest.Layers...) {
		if s.cfg.Content.Has(p.Digest) {
			m.Content += p.Size
		} else {
			all = false
		}
	}
	m.Available = m.Available || all
	return m
}
