package image

import (
	"archive/tar"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"nau/internal/engine/content/hold"
	"nau/internal/engine/image/remote"
)

// ExportOptions of one archive.
type ExportOptions struct {
	Platforms []ocispec.Platform // nil = all that are here
}

// Export writes an archive that is an OCI layout and a docker-save archive at once: what names point to, with every platform of it that is
// here or is asked for. A name brings that name, a repository without a tag all its names, an ID none. Nothing is written before all is found:
// ErrNotFound, ErrNoPlatform.
func (s *Store) Export(ctx context.Context, w io.Writer, opts ExportOptions, refs ...string) error {
	lease := s.cfg.Content.Lease()
	defer lease.Release()
	list, err := s.selected(refs, opts, lease)
	if err != nil {
		return fmt.Errorf("export images: %w", err)
	}
	if err := s.writeArchive(ctx, tar.NewWriter(w), list); err != nil {
		return fmt.Errorf("export images: %w", err)
	}
	return nil
}

// exported is what stands in an archive's index: an image, or an index with the images of it that go along, with the names that go along.
type exported struct {
	target ocispec.Descriptor
	shown  imageRecord // of which docker's own list tells
	recs   []imageRecord
	said   []ocispec.Descriptor // blobs of what is said about them
	inner  []digest.Digest      // indexes in the index
	names  []string
}

func (s *Store) selected(refs []string, opts ExportOptions, lease *hold.Lease[digest.Digest]) ([]*exported, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var list []*exported
	add := func(h *held, ref, name string) error {
		x, err := s.exported(h, name, opts)
		if err != nil {
			return fmt.Errorf("%w: %s", err, ref)
		}
		for _, rec := range x.recs {
			lease.Hold(rec.ID, rec.Manifest.Digest)
			lease.Hold(digests(rec.Layers)...)
		}
		lease.Hold(digests(x.said)...)
		lease.Hold(append(x.inner, x.target.Digest)...)
		if name != "" && !isDigestName(name) && !strings.Contains(ref, "@") { // by a digest, it is that, whatever else points there
			x.names = []string{name}
		}
		for _, have := range list {
			if have.target.Digest == x.target.Digest {
				have.names = append(have.names, x.names...)
				return nil
			}
		}
		list = append(list, x)
		return nil
	}
	for _, ref := range refs {
		h, name, err := s.find(ref)
		// "nginx" alone means all its tags, as docker save has it.
		if n, perr := reference.ParseNormalizedNamed(ref); perr == nil && reference.IsNameOnly(n) && (err != nil || name != "") {
			for full, r := range s.names {
				if repoOf(full) == n.Name() && !isDigestName(full) {
					if err = add(s.images[r.ID], ref, full); err != nil {
						return nil, err
					}
				}
			}
			if err == nil {
				continue
			}
		}
		if err == nil {
			err = add(h, ref, name)
		}
		if err != nil {
			return nil, err
		}
	}
	for _, x := range list {
		slices.Sort(x.names)
		x.names = slices.Compact(x.names)
	}
	return list, nil
}

// exported collects what goes into an archive of an image that was found: what its name points to as far as it is here; of one platform that is
// asked for its manifest alone. The lock is held.
func (s *Store) exported(h *held, name string, opts ExportOptions) (*exported, error) {
	target := s.targetOf(h, name)
	t := s.tree(target)
	members := t.members(s.images)
	if len(members) == 0 {
		target, members = h.rec.Manifest, []member{{held: h, desc: h.rec.Manifest, platform: h.platform()}}
	}
	if len(opts.Platforms) > 0 {
		var some []member
		for _, want := range opts.Platforms {
			m, ok := fitting(members, normalise(want))
			if !ok {
				return nil, &NoPlatformError{want}
			}
			some = append(some, m)
		}
		members = some
	}
	x := &exported{target: target, shown: h.rec}
	if len(opts.Platforms) == 1 && isIndex(target.MediaType) {
		x.target = members[0].desc
	}
	top, _ := leading(members, *s.cfg.Platform)
	whole := isIndex(x.target.MediaType)
	if whole {
		x.inner = t.inner
	}
	for _, m := range members {
		rec, err := s.recordOf(m)
		if err != nil {
			return nil, err
		}
		x.recs = append(x.recs, rec)
		if m.held == top.held {
			x.shown = rec
		}
		for _, b := range t.said(m.desc.Digest) {
			if whole {
				x.said = append(append(x.said, b.parts...), b.desc)
			}
		}
	}
	return x, nil
}

// recordOf is a member's record with the manifest that the index has, and the layers of that: its record may have come by another since.
func (s *Store) recordOf(m member) (imageRecord, error) {
	rec := m.rec
	if rec.Manifest.Digest == m.desc.Digest {
		return rec, nil
	}
	raw, err := s.cfg.Content.ReadAll(m.desc.Digest, remote.MaxManifest)
	if err != nil {
		return rec, err
	}
	x, err := parseManifest(raw, m.desc.MediaType)
	if err != nil {
		return rec, err
	}
	if x.manifest == nil {
		return rec, fmt.Errorf("read manifest %s: %w: an index", m.desc.Digest, ErrUnsupported)
	}
	rec.Manifest, rec.Layers = m.desc, x.manifest.Layers
	return rec, nil
}

func blobPath(d digest.Digest) string {
	return "blobs/" + d.Algorithm().String() + "/" + d.Encoded()
}

func (s *Store) writeArchive(ctx context.Context, tw *tar.Writer, list []*exported) error {
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{}}
	docker := []dockerImage{}
	seen := map[digest.Digest]bool{}
	for _, x := range list {
		m := dockerImage{Config: blobPath(x.shown.ID), Layers: []string{}}
		for _, l := range x.shown.Layers {
			m.Layers = append(m.Layers, blobPath(l.Digest))
		}
		for _, n := range x.names {
			m.RepoTags = append(m.RepoTags, familiar(n))
		}
		docker = append(docker, m)
		index.Manifests = append(index.Manifests, named(x.target, x.names)...)
		blobs := append(append(digests(x.said), x.target.Digest), x.inner...)
		for _, rec := range x.recs {
			blobs = append(append(blobs, rec.Manifest.Digest, rec.ID), digests(rec.Layers)...)
		}
		for _, d := range blobs {
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
