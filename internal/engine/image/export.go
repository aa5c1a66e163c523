package image

import (
	"archive/tar"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Export writes an archive that is an OCI layout and a docker-save archive at once. A name brings that name, a repository without a tag all its
// names, an ID none.
func (s *Store) Export(ctx context.Context, w io.Writer, refs ...string) error {
	list, err := s.selected(refs)
	if err != nil {
		return fmt.Errorf("export images: %w", err)
	}
	lease := s.cfg.Content.Lease()
	defer lease.Release()
	for _, x := range list {
		lease.Hold(x.rec.ID, x.rec.Manifest.Digest)
		for _, l := range x.rec.Layers {
			lease.Hold(l.Digest)
		}
	}
	if err := s.writeArchive(ctx, tar.NewWriter(w), list, nil); err != nil {
		return fmt.Errorf("export images: %w", err)
	}
	return nil
}

// exported is one image with the names that go into the archive.
type exported struct {
	rec   imageRecord
	names []string
}

func (s *Store) selected(refs []string) ([]*exported, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var list []*exported
	for _, ref := range refs {
		h, name, err := s.find(ref)
		names := []string{name}
		if err != nil || name == "" {
			names = nil
		}
		// "nginx" alone means all its tags, as docker save has it.
		if n, perr := reference.ParseNormalizedNamed(ref); perr == nil && reference.IsNameOnly(n) && (err != nil || name != "") {
			for full, r := range s.names {
				if repoOf(full) == n.Name() && !isDigestName(full) {
					list = addExport(list, s.images[r.ID].rec, full)
					err = nil
				}
			}
			if err == nil {
				continue
			}
		}
		if err != nil {
			return nil, err
		}
		if len(names) == 1 && isDigestName(names[0]) {
			names = nil
		}
		list = addExport(list, h.rec, names...)
	}
	for _, x := range list {
		slices.Sort(x.names)
		x.names = slices.Compact(x.names)
	}
	return list, nil
}

func addExport(list []*exported, rec imageRecord, names ...string) []*exported {
	for _, x := range list {
		if x.rec.ID == rec.ID {
			x.names = append(x.names, names...)
			return list
		}
	}
	return append(list, &exported{rec: rec, names: slices.Clone(names)})
}

func blobPath(d digest.Digest) string {
	return "blobs/" + d.Algorithm().String() + "/" + d.Encoded()
}

// writeArchive writes images; whole is an index that names them all and is written in their place, nil = none.
func (s *Store) writeArchive(ctx context.Context, tw *tar.Writer, list []*exported, whole *ocispec.Descriptor) error {
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{}}
	docker := []dockerImage{}
	seen := map[digest.Digest]bool{}
	if whole != nil {
		index.Manifests = named(*whole, list[0].names)
		said, err := s.statements(*whole)
		if err != nil {
			return err
		}
		for _, d := range append(said, *whole) {
			if seen[d.Digest] {
				continue
			}
			seen[d.Digest] = true
			if err := s.writeBlob(ctx, tw, d.Digest); err != nil {
				return err
			}
		}
	}
	for _, x := range list {
		m := dockerImage{Config: blobPath(x.rec.ID), RepoTags: []string{}, Layers: []string{}}
		for _, l := range x.rec.Layers {
			m.Layers = append(m.Layers, blobPath(l.Digest))
		}
		if whole == nil {
			index.Manifests = append(index.Manifests, named(x.rec.Manifest, x.names)...)
		}
		for _, n := range x.names {
			m.RepoTags = append(m.RepoTags, familiar(n))
		}
		docker = append(docker, m)
		for _, d := range append([]digest.Digest{x.rec.Manifest.Digest, x.rec.ID}, digests(x.rec.Layers)...) {
			if seen[d] {
				continue
			}
			seen[d] = true
			if err := s.writeBlob(ctx, tw, d); err != nil {
				return err
			}
		}
	}
	for _, f := range []struct {
		name string
		v    any
	}{{"oci-layout", ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}}, {"index.json", index}, {"manifest.json", docker}} {
		b, err := json.Marshal(f.v)
		if err != nil {
			return err
		}
		if err := tw.WriteHeader(&tar.Header{Name: f.name, Mode: 0o444, Size: int64(len(b)), ModTime: time.Unix(0, 0)}); err != nil {
			return err
		}
		if _, err := tw.Write(b); err != nil {
			return err
		}
	}
	return tw.Close()
}

// named is a descriptor once for each name that it has in an archive.
func named(d ocispec.Descriptor, names []string) (out []ocispec.Descriptor) {
	if len(names) == 0 {
		return []ocispec.Descriptor{d}
	}
	for _, n := range names {
		d.Annotations = map[string]string{"io.containerd.image.name": n, ocispec.AnnotationRefName: n[len(repoOf(n))+1:]}
		out = append(out, d)
	}
	return out
}

func digests(ds []ocispec.Descriptor) (out []digest.Digest) {
	for _, d := range ds {
		out = append(out, d.Digest)
	}
	return out
}

func (s *Store) writeBlob(ctx context.Context, tw *tar.Writer, d digest.Digest) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	f, err := s.cfg.Content.Blob(d)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if err := tw.WriteHeader(&tar.Header{Name: blobPath(d), Mode: 0o444, Size: st.Size(), ModTime: time.Unix(0, 0)}); err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{tw}, struct{ io.Reader }{f}, make([]byte, 256<<10))
	return err
}
