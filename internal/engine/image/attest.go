package image

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Statement is what somebody says about an image: an in-toto statement, kept beside the image in the index that names both.
type Statement struct {
	Predicate string // type of what is said, an address
	Body      []byte // JSON
}

// Names by which statements are found. Source: Docker's documentation, "Image attestation storage".
const (
	mediaTypeStatement  = "application/vnd.in-toto+json"
	annotationPredicate = "in-toto.io/predicate-type"
	annotationType      = "vnd.docker.reference.type"
	annotationDigest    = "vnd.docker.reference.digest"
	typeAttestation     = "attestation-manifest"
)

// attest stores statements about an image and describes the manifest that has them.
func (w *Work) attest(img *Image, list []Statement) (ocispec.Descriptor, error) {
	var bodies [][]byte
	config := ocispec.Image{Platform: ocispec.Platform{OS: "unknown", Architecture: "unknown"}, RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{}}}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	for _, st := range list {
		d := digest.FromBytes(st.Body)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, d)
		m.Layers = append(m.Layers, ocispec.Descriptor{MediaType: mediaTypeStatement, Digest: d, Size: int64(len(st.Body)), Annotations: map[string]string{annotationPredicate: st.Predicate}})
		bodies = append(bodies, st.Body)
	}
	raw, err := json.Marshal(config)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	m.Config = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	manifest, err := json.Marshal(m)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	for _, b := range append(bodies, raw, manifest) {
		d := digest.FromBytes(b)
		w.blobs.Hold(d)
		if err := w.s.cfg.Content.PutBytes(d, b); err != nil {
			return ocispec.Descriptor{}, err
		}
		if err := w.s.cfg.Content.Settle(d); err != nil {
			return ocispec.Descriptor{}, err
		}
	}
	return ocispec.Descriptor{MediaType: m.MediaType, Digest: digest.FromBytes(manifest), Size: int64(len(manifest)), Platform: &config.Platform,
		Annotations: map[string]string{annotationType: typeAttestation, annotationDigest: img.Manifest.Digest.String()}}, nil
}

// statements lists the blobs of what is said beside the images of an index, as far as it is here and about one of those given.
func (s *Store) statements(target ocispec.Descriptor, about map[digest.Digest]bool) (out []ocispec.Descriptor) {
	for _, b := range s.treeOf(target).branches {
		if about[b.about] && b.parts != nil {
			out = append(append(out, b.parts...), b.desc)
		}
	}
	return out
}

// treeOf is a target's tree, read anew where no name or record has it; of a manifest it is empty.
func (s *Store) treeOf(target ocispec.Descriptor) *tree {
	if !isIndex(target.MediaType) {
		return &tree{}
	}
	s.mu.RLock()
	t := s.trees[target.Digest]
	s.mu.RUnlock()
	if t == nil {
		t = s.readTree(target.Digest)
	}
	return t
}

// Statements lists what is said about an image in the index that its names point to.
func (s *Store) Statements(img *Image) (out []ocispec.Descriptor) {
	for _, b := range s.treeOf(img.Target).said(img.Manifest.Digest) {
		out = append(out, b.parts[1:]...)
	}
	return out
}

// Predicate is the type of what a statement says.
func Predicate(statement ocispec.Descriptor) string {
	return statement.Annotations[annotationPredicate]
}

// maxStatement bounds a statement that is read into memory; a list of a large image's packages has some ten megabytes.
const maxStatement = 64 << 20

// ReadStatement reads one whole.
func (s *Store) ReadStatement(d ocispec.Descriptor) ([]byte, error) {
	b, err := s.cfg.Content.ReadAll(d.Digest, maxStatement)
	if err != nil {
		return nil, fmt.Errorf("read statement %s: %w", d.Digest, err)
	}
	return b, nil
}

// knows tells whether a target is known, with what it says about a manifest if that is wanted. The lock is held.
func (s *Store) knows(target ocispec.Descriptor, manifest digest.Digest, said bool) bool {
	if !isIndex(target.MediaType) {
		return true
	}
	for _, b := range s.branchesOf(target) {
		switch {
		case b.desc.Digest == manifest && b.config == "", said && b.about == manifest && b.parts == nil:
			return false
		}
	}
	return s.trees[target.Digest] != nil
}

// statements brings what an index says about one of its manifests.
func (p *pull) statements(ctx context.Context, target ocispec.Descriptor, about digest.Digest) error {
	if !isIndex(target.MediaType) {
		return nil
	}
	for _, b := range p.s.readTree(target.Digest).branches {
		if b.about != about {
			continue
		}
		d, raw, err := p.get(ctx, b.desc.Digest.String())
		if err != nil {
			return err
		}
		m, err := parseBeside(raw, d.MediaType)
		if err != nil || m.manifest == nil {
			return err
		}
		for _, d := range append([]ocispec.Descriptor{m.manifest.Config}, m.manifest.Layers...) {
			if err := p.part(ctx, d); err != nil {
				return fmt.Errorf("pull statement %s: %w", d.Digest, err)
			}
		}
	}
	return nil
}

// part brings a blob that is no layer.
func (p *pull) part(ctx context.Context, d ocispec.Descriptor) error {
	p.blobs.Hold(d.Digest)
	if p.s.cfg.Content.Has(d.Digest) {
		return nil
	}
	p.tell(Event{ID: shortID(d.Digest), Status: StatusPullingLayer})
	i, err := p.s.cfg.Content.Begin("statement "+rand.Text(), d.Digest.Algorithm())
	if err != nil {
		return err
	}
	defer i.Abort()
	if err := p.repo.Download(ctx, d.Digest, 0, d.Size, i, nil); err != nil {
		return err
	}
	if _, err := i.Commit(d.Digest); err != nil {
		return err
	}
	p.tell(Event{ID: shortID(d.Digest), Status: StatusDownloaded})
	return nil
}
