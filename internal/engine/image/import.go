package image

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"nau/internal/engine/image/remote"
	"nau/internal/engine/layer"
)

// ImportOptions of one archive.
type ImportOptions struct {
	Names     []string           // names to give, instead of the archive's own; needs an archive of one image
	Platforms []ocispec.Platform // nil = all that the archive has
	Progress  func(Event)
}

// Import reads an OCI layout or docker-save archive (tar, gzip, bzip2, xz, zstd) in one pass: files go to the content store as they come, in whatever order,
// and only what an image needs stays. An index comes
// with every platform whose content is there, as one image: the answer has what is shown of each.
func (s *Store) Import(ctx context.Context, r io.Reader, opts ImportOptions) ([]*Image, error) {
	w := s.Work()
	defer w.Done()
	imgs, err := (&importer{w: w, opts: opts, files: map[string]digest.Digest{}, sizes: map[digest.Digest]int64{}}).run(ctx, r)
	if err != nil {
		w.Done()
		if _, cerr := s.collect(); cerr != nil {
			err = errors.Join(err, cerr)
		}
		return nil, fmt.Errorf("import archive: %w", err)
	}
	return imgs, nil
}

// Bounds of what an archive can make us keep in memory. Blobs go to disk.
const (
	maxArchiveFiles = 100_000
	maxArchiveJSON  = remote.MaxManifest
)

type importer struct {
	w        *Work
	opts     ImportOptions
	files    map[string]digest.Digest // by name in the archive
	links    map[string]string
	sizes    map[digest.Digest]int64
	index    []byte // index.json
	manifest []byte // manifest.json
}

// dockerImage is one element of manifest.json (docker's image specification v1.2).
type dockerImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

func (m *importer) run(ctx context.Context, r io.Reader) ([]*Image, error) {
	plain, err := layer.Decompress(r)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	if err := m.read(ctx, tar.NewReader(plain)); err != nil {
		return nil, err
	}
	var docker []dockerImage
	if m.manifest != nil {
		if err := json.Unmarshal(m.manifest, &docker); err != nil {
			return nil, badArchive("invalid archive: failed to decode manifest.json: %w", err)
		}
	}
	var found []*foundImage
	if m.index != nil {
		if found, err = m.fromIndex(docker); err != nil {
			return nil, err
		}
	}
	if len(found) == 0 {
		if found, err = m.fromDocker(docker); err != nil {
			return nil, err
		}
	}
	if len(found) == 0 {
		if m.index == nil && m.manifest == nil {
			return nil, badArchive("invalid archive: does not contain a manifest.json")
		}
		return nil, badArchive("invalid archive: names no image")
	}
	if len(m.opts.Names) > 0 {
		if len(found) > 1 {
			return nil, badArchive("names given for an archive of %d images", len(found))
		}
		found[0].names = m.opts.Names
	}
	var out []*Image
	for _, f := range found {
		img, err := m.enter(ctx, f)
		if err != nil {
			return nil, err
		}
		out = append(out, img)
	}
	return out, nil
}

// read takes all files out of the archive.
func (m *importer) read(ctx context.Context, tr *tar.Reader) error {
	m.links = map[string]string{}
	for n := 0; ; n++ {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return badArchive("%w", err)
		}
		if n > maxArchiveFiles {
			return badArchive("invalid archive: more than %d files", maxArchiveFiles)
		}
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		switch h.Typeflag {
		case tar.TypeSymlink: // old docker-save archives share layers so
			m.links[name] = strings.TrimPrefix(path.Join("/", path.Dir(name), h.Linkname), "/")
		case tar.TypeLink:
			m.links[name] = strings.TrimPrefix(path.Clean("/"+h.Linkname), "/")
		case tar.TypeReg:
			var bad *ArchiveError
			if err := m.file(name, h.Size, tr); errors.As(err, &bad) {
				return bad
			} else if err != nil {
				return fmt.Errorf("read %q: %w", h.Name[:min(len(h.Name), 200)], err)
			}
		}
	}
}

func (m *importer) file(name string, size int64, r io.Reader) error {
	switch name {
	case "index.json", "manifest.json":
		b, err := io.ReadAll(io.LimitReader(r, maxArchiveJSON+1))
		if err != nil {
			return badArchive("%w", err)
		}
		if len(b) > maxArchiveJSON {
			return badArchive("invalid archive: %s is larger than %d bytes", name, maxArchiveJSON)
		}
		if name == "index.json" {
			m.index = b
		} else {
			m.manifest = b
		}
		return nil
	case "oci-layout", "repositories":
		return nil
	}
	want := digest.Digest("")
	if rest, ok := strings.CutPrefix(name, "blobs/"); ok {
		alg, hex, _ := strings.Cut(rest, "/")
		if want = digest.NewDigestFromEncoded(digest.Algorithm(alg), hex); want.Validate() != nil {
			return badArchive("invalid archive: %q has no digest for a name", name[:min(len(name), 200)])
		}
	} else if base := path.Base(name); base == "VERSION" || base == "json" { // version 1 leftovers
		return nil
	}
	c := m.w.s.cfg.Content
	if want != "" {
		m.w.blobs.Hold(want)
		if c.Has(want) {
			m.files[name], m.sizes[want] = want, size
			return nil
		}
	}
	i, err := c.Begin("import "+rand.Text(), algorithm(want))
	if err != nil {
		return err
	}
	defer i.Abort()
	src := &readErr{r: r}
	if _, err := io.CopyBuffer(struct{ io.Writer }{i}, src, make([]byte, 256<<10)); err != nil {
		if src.err != nil {
			return badArchive("%w", err)
		}
		return err
	}
	m.w.blobs.Hold(i.Digest())
	d, err := i.Commit(want)
	if err != nil {
		return badArchive("invalid archive: %w", err)
	}
	m.files[name], m.sizes[d] = d, size
	return nil
}

type readErr struct {
	r   io.Reader
	err error
}

func (e *readErr) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	if err != nil && err != io.EOF {
		e.err = err
	}
	return n, err
}

// blob finds a file of the archive, through at most a few links.
func (m *importer) blob(what, name string) (digest.Digest, error) {
	asked := name
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	for range 8 {
		if d, ok := m.files[name]; ok {
			return d, nil
		}
		to, ok := m.links[name]
		if !ok {
			break
		}
		name = to
	}
	return "", badArchive("%s %q not found", what, asked[:min(len(asked), 200)])
}

// fromDocker makes manifests for a docker-save archive that has none.
func (m *importer) fromDocker(docker []dockerImage) ([]*foundImage, error) {
	var out []*foundImage
	for _, d := range docker {
		c, err := m.blob("image config", d.Config)
		if err != nil {
			return nil, err
		}
		man := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Layers: []ocispec.Descriptor{},
			Config: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: c, Size: m.sizes[c]}}
		for _, l := range d.Layers {
			b, err := m.blob("layer", l)
			if err != nil {
				return nil, err
			}
			media, err := m.layerMedia(b)
			if err != nil {
				return nil, err
			}
			man.Layers = append(man.Layers, ocispec.Descriptor{MediaType: media, Digest: b, Size: m.sizes[b]})
		}
		raw, err := json.Marshal(man)
		if err != nil {
			return nil, err
		}
		desc := ocispec.Descriptor{MediaType: man.MediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
		m.w.blobs.Hold(desc.Digest)
		if err := m.w.s.cfg.Content.PutAs(desc.Digest, bytes.NewReader(raw)); err != nil {
			return nil, err
		}
		out = append(out, &foundImage{target: desc, images: []foundManifest{{desc, &man}}, names: d.RepoTags})
	}
	return out, nil
}

func (m *importer) layerMedia(d digest.Digest) (string, error) {
	f, err := m.w.s.cfg.Content.Blob(d)
	if err != nil {
		return "", err
	}
	defer f.Close()
	head := make([]byte, 16)
	n, _ := io.ReadFull(f, head)
	switch layer.Detect(head[:n]) {
	case layer.Gzip:
		return ocispec.MediaTypeImageLayerGzip, nil
	case layer.Zstd:
		return ocispec.MediaTypeImageLayerZstd, nil
	}
	return ocispec.MediaTypeImageLayer, nil
}

func (m *importer) enter(ctx context.Context, f *foundImage) (*Image, error) {
	names, err := tagNames(f.names)
	if err != nil {
		return nil, badArchive("%w", err)
	}
	chosen, err := m.wanted(f.images)
	if err != nil {
		return nil, err
	}
	var img *Image
	for _, x := range chosen {
		h, err := m.w.adopt(ctx, x.desc, x.manifest)
		if err != nil {
			return nil, misfit(h, err)
		}
		if err := m.w.s.promise(h); err != nil {
			return nil, err
		}
		if img, err = m.w.s.enter(h, f.target, names); err != nil {
			return nil, err
		}
	}
	if len(chosen) > 1 { // what is shown of several
		if img, err = m.w.s.Get(f.target.Digest.String()); err != nil {
			return nil, err
		}
	}
	if m.opts.Progress != nil {
		for _, n := range names {
			m.opts.Progress(Event{Status: "Loaded image: " + familiar(n)})
		}
		if len(names) == 0 {
			m.opts.Progress(Event{Status: "Loaded image ID: " + img.ID.String()})
		}
	}
	return img, nil
}

// misfit words an image whose parts do not fit each other.
func misfit(h *held, err error) error {
	var count *layerCountError
	var sum *layer.DigestError
	switch {
	case errors.As(err, &count):
		return badArchive("%w", count)
	case errors.As(err, &sum) && h != nil:
		return &ArchiveError{cause: sum, words: fmt.Sprintf("invalid diffID for layer %d: expected %q, got %q", slices.Index(h.rec.DiffIDs, sum.Want), sum.Want, sum.Got)}
	}
	return err
}

// wanted chooses those for the platforms that are asked for.
func (m *importer) wanted(all []foundManifest) (some []foundManifest, err error) {
	if len(m.opts.Platforms) == 0 {
		return all, nil
	}
	var known []member
	var names []string
	for _, x := range all {
		p := x.desc.Platform
		if p == nil || p.OS == "" || p.Architecture == "" {
			raw, err := m.w.s.cfg.Content.ReadAll(x.manifest.Config.Digest, remote.MaxManifest)
			if err != nil {
				return nil, err
			}
			c, err := parseConfig(raw, len(x.manifest.Layers))
			if err != nil {
				return nil, err
			}
			if p = &c.Platform; p.Architecture == "" { // it does not say
				return all, nil
			}
		}
		known = append(known, member{desc: x.desc, platform: normalise(*p)})
		names = append(names, FormatPlatform(*p))
	}
	for _, want := range m.opts.Platforms {
		one, ok := fitting(known, normalise(want))
		if !ok {
			return nil, fmt.Errorf("%w: archive has %s", &NoPlatformError{want}, strings.Join(names, ", "))
		}
		for _, x := range all {
			if x.desc.Digest == one.desc.Digest {
				some = append(some, x)
			}
		}
	}
	return some, nil
}

// algorithm of a digest; "" for none, which is the store's default.
func algorithm(d digest.Digest) digest.Algorithm {
	if d == "" {
		return ""
	}
	return d.Algorithm()
}
