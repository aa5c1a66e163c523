package image

import (
	"context"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
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
	Descriptor ocispec.Descriptor
	Platform   ocispec.Platform
	Attests    digest.Digest // of an attestation: the manifest that it is about
	Available  bool          // manifest, configuration and layers are here
	Content    int64         // bytes of its blobs that are here
	Unpacked   int64         // bytes of its unpacked layers
	Image      digest.Digest // "" where it is not here
}

// Manifests lists what an image's names stand for: the manifests of the index that they point to, or its own alone.
func (s *Store) Manifests(img *Image) []ManifestInfo {
	s.mu.RLock()
	defer s.mu.RUnlock()
	branches := s.branchesOf(img.Target)
	if len(branches) == 0 {
		return []ManifestInfo{{Descriptor: img.Manifest, Platform: img.Config.Platform, Available: true, Content: img.Content, Unpacked: img.Size, Image: img.ID}}
	}
	out := make([]ManifestInfo, 0, len(branches))
	here := s.tree(img.Target).here(s.images)
	for _, b := range branches {
		m := ManifestInfo{Descriptor: b.desc, Attests: b.about}
		if b.desc.Platform != nil {
			m.Platform = *b.desc.Platform
		}
		if h := s.images[b.config]; h != nil {
			m.Image, m.Available = b.config, true
			if m.Platform.Architecture == "" {
				m.Platform = h.config.Platform
			}
			for _, n := range h.rec.Sizes {
				m.Unpacked += n
			}
			m.Content = h.total() - m.Unpacked
		} else if b.parts != nil && here[b.about] {
			m.Available, m.Content = true, b.size()
		}
		out = append(out, m)
	}
	return out
}
