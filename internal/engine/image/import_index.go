package image

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"nau/internal/engine/image/remote"
)

// foundImage is what the archive's index names, an image or an index of images, with the names that it has there.
type foundImage struct {
	target ocispec.Descriptor
	images []foundManifest
	names  []string
}

type foundManifest struct {
	desc     ocispec.Descriptor
	manifest *ocispec.Manifest
}

// fromIndex follows index.json. Names are containerd's annotation, a full reference in the OCI one, and manifest.json's for the same configuration.
func (m *importer) fromIndex(docker []dockerImage) ([]*foundImage, error) {
	x, err := parseManifest(m.index, ocispec.MediaTypeImageIndex)
	if err != nil {
		return nil, badArchive("invalid archive: read index.json: %w", err)
	}
	if x.index == nil {
		return nil, badArchive("invalid archive: index.json is not an index")
	}
	tags := map[digest.Digest][]string{}
	for _, d := range docker {
		if c, err := m.blob("image config", d.Config); err == nil {
			tags[c] = append(tags[c], d.RepoTags...)
		}
	}
	var out []*foundImage
	for _, d := range x.index.Manifests {
		if attestation(d) || d.Annotations[annotationSubject] != "" || !isManifest(d.MediaType) && !isIndex(d.MediaType) {
			continue
		}
		f, err := m.resolve(d)
		if err != nil {
			return nil, err
		}
		if i := slices.IndexFunc(out, func(o *foundImage) bool { return o.target.Digest == f.target.Digest }); i >= 0 {
			f = out[i]
		} else {
			for _, one := range f.images {
				f.names = append(f.names, tags[one.manifest.Config.Digest]...)
			}
			out = append(out, f)
		}
		if n := indexName(d.Annotations); n != "" {
			f.names = append(f.names, n)
		}
	}
	return out, nil
}

// annotationSubject marks what an archive's index names beside images only so that it is not lost.
const annotationSubject = "io.containerd.manifest.subject"

// indexName: the annotation org.opencontainers.image.ref.name is often a bare tag, which names nothing.
func indexName(a map[string]string) string {
	if n := a["io.containerd.image.name"]; n != "" {
		return n
	}
	n := a[ocispec.AnnotationRefName]
	if strings.ContainsAny(n, "/:") {
		if _, err := reference.ParseNormalizedNamed(n); err == nil {
			return n
		}
	}
	return ""
}

// resolve collects the images of a descriptor of index.json whose content is in the archive, or here already. Of one that is not all there nothing
// is taken; archives of one platform keep the whole index.
func (m *importer) resolve(d ocispec.Descriptor) (*foundImage, error) {
	c := m.w.s.cfg.Content
	b, err := c.ReadAll(d.Digest, remote.MaxManifest)
	if err != nil {
		return nil, badArchive("manifest %s not found", d.Digest)
	}
	m.w.blobs.Hold(d.Digest)
	x, err := parseManifest(b, d.MediaType)
	if err != nil {
		return nil, err
	}
	f := &foundImage{target: ocispec.Descriptor{MediaType: x.media, Digest: d.Digest, Size: cmp.Or(d.Size, int64(len(b)))}}
	if x.manifest != nil {
		f.images = []foundManifest{{ocispec.Descriptor{MediaType: x.media, Digest: d.Digest, Size: f.target.Size, Platform: d.Platform}, x.manifest}}
		return f, nil
	}
	t := m.w.s.readTree(d.Digest)
	m.w.blobs.Hold(t.inner...)
	var all []string
	for _, b := range t.branches {
		for _, p := range b.parts {
			m.w.blobs.Hold(p.Digest)
		}
		m.w.blobs.Hold(b.desc.Digest)
		if b.about != "" {
			continue
		}
		if p := b.desc.Platform; p != nil {
			all = append(all, FormatPlatform(*p))
		}
		if b.config == "" || !c.Has(b.config) {
			continue
		}
		raw, err := c.ReadAll(b.desc.Digest, remote.MaxManifest)
		if err != nil {
			return nil, err
		}
		y, err := parseManifest(raw, b.desc.MediaType)
		if err != nil {
			return nil, err
		}
		if y.manifest == nil || slices.ContainsFunc(y.manifest.Layers, func(l ocispec.Descriptor) bool { return !c.Has(l.Digest) }) {
			continue
		}
		b.desc.MediaType = y.media
		f.images = append(f.images, foundManifest{b.desc, y.manifest})
	}
	if len(f.images) == 0 {
		return nil, fmt.Errorf("%w: archive has no content for any of %s", ErrNoPlatform, strings.Join(all, ", "))
	}
	return f, nil
}
