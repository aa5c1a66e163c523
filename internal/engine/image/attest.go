package image

import (
	"encoding/json"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"nau/internal/engine/image/remote"
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

// statements lists the blobs of what is said beside the images of an index.
func (s *Store) statements(target ocispec.Descriptor) (out []ocispec.Descriptor, err error) {
	if !isIndex(target.MediaType) {
		return nil, nil
	}
	b, err := s.cfg.Content.ReadAll(target.Digest, remote.MaxManifest)
	if err != nil {
		return nil, err
	}
	x, err := parseManifest(b, target.MediaType)
	if err != nil || x.index == nil {
		return nil, err
	}
	for _, d := range x.index.Manifests {
		if !attestation(d) {
			continue
		}
		mb, err := s.cfg.Content.ReadAll(d.Digest, remote.MaxManifest)
		if err != nil {
			return nil, err
		}
		m, err := parseBeside(mb, d.MediaType)
		if err != nil {
			return nil, err
		}
		if m.manifest != nil {
			out = append(append(out, m.manifest.Layers...), m.manifest.Config, d)
		}
	}
	return out, nil
}
