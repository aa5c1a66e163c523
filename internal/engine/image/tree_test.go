package image

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// forest is a store with a registry that has an index of amd64, arm64 and s390x, with something said about the first two.
type forest struct {
	*bed
	u     *upstream
	ref   string
	index digest.Digest
	byArc map[string]*made
	said  map[string]*made
	used  map[digest.Digest]bool // IDs that a container uses
}

func newForest(t *testing.T) *forest {
	f := &forest{u: newUpstream(t, nil), byArc: map[string]*made{}, said: map[string]*made{}, used: map[digest.Digest]bool{}}
	f.bed = newBed(t, func(c *Config) {
		c.InUse = func(id digest.Digest) ([]string, bool) {
			if f.used[id] {
				return []string{"c"}, false
			}
			return nil, false
		}
	})
	var list []ocispec.Descriptor
	for _, arch := range []string{"amd64", "arm64", "s390x"} {
		m := makeImage(t, [][]byte{layerTar(t, file{"arch", arch})}, func(c *ocispec.Image, _ *ocispec.Manifest) { c.Architecture = arch })
		f.byArc[arch] = m
		f.u.push(t, "many", "", m)
		list = append(list, m.desc)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		m := said(t, f.byArc[arch].desc.Digest, `{"about":"`+arch+`"}`)
		f.said[arch] = m
		f.u.push(t, "many", "", m)
		list = append(list, m.desc)
	}
	f.index = f.u.pushIndex(t, "many", "1", list...)
	f.ref = f.u.host() + "/many:1"
	return f
}

// said is a manifest with one statement about another.
func said(t *testing.T, about digest.Digest, body string) *made {
	m := makeImage(t, nil, func(c *ocispec.Image, man *ocispec.Manifest) {
		d := digest.FromString(body)
		c.OS, c.Architecture, c.RootFS.DiffIDs = "unknown", "unknown", []digest.Digest{d}
		man.Layers = []ocispec.Descriptor{{MediaType: mediaTypeStatement, Digest: d, Size: int64(len(body)), Annotations: map[string]string{annotationPredicate: "test"}}}
	})
	m.blobs[digest.FromString(body)] = []byte(body)
	m.desc.Annotations = map[string]string{annotationType: typeAttestation, annotationDigest: about.String()}
	return m
}

func (f *forest) pull(t *testing.T, arch string) *Image {
	t.Helper()
	p := ParsePlatform("linux/" + arch)
	img, err := f.Pull(context.Background(), f.ref, PullOptions{Platform: &p, Said: true})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// here tells which architectures a name has here, and which of them it shows.
func (f *forest) here(ref string) string {
	img, err := f.Get(ref)
	if err != nil {
		return "nothing"
	}
	var out []string
	for _, m := range f.Manifests(img) {
		if m.Available && m.Attests == "" {
			out = append(out, m.Platform.Architecture)
		}
	}
	return strings.Join(out, " ") + ", shows " + img.Config.Architecture
}

// listed tells how many images a list has.
func (f *forest) listed() int { return len(f.List()) }

func TestANameStandsForAllItsPlatforms(t *testing.T) {
	f := newForest(t)
	check := func(ref, want string, images int) {
		t.Helper()
		if got := f.here(ref); got != want {
			t.Errorf("%s has %s, want %s", ref, got, want)
		}
		if n := f.listed(); n != images {
			t.Errorf("%d images are listed, want %d", n, images)
		}
	}
	f.pull(t, "arm64")
	check(f.ref, "arm64, shows arm64", 1)
	f.pull(t, "s390x")
	check(f.ref, "arm64 s390x, shows arm64", 1)
	img := f.pull(t, "amd64")
	check(f.ref, "amd64 arm64 s390x, shows amd64", 1)
	if img.Target.Digest != f.index || len(img.Beside) != 2 || len(img.RepoTags) != 1 {
		t.Errorf("the image stands for %s, has %d beside it and tags %v", img.Target.Digest, len(img.Beside), img.RepoTags)
	}
	if got := f.Statements(img); len(got) != 1 || Predicate(got[0]) != "test" {
		t.Errorf("said about it: %v", got)
	}

	// A name means every platform's image, as long as it is there.
	for arch, m := range f.byArc {
		if !f.Means(f.ref, m.config) || !f.Means(f.index.String(), m.config) || f.Means(f.u.host()+"/many:2", m.config) || f.Means(f.ref, f.index) {
			t.Errorf("%s does not stand for its image of %s, or something else does", f.ref, arch)
		}
	}

	// By a platform, by the digest of the index and of a manifest, by an ID.
	for _, ref := range []string{f.ref, img.ID.String(), f.index.String(), f.u.host() + "/many@" + f.index.String()} {
		for arch, m := range f.byArc {
			got, err := f.On(ref, ParsePlatform("linux/"+arch))
			if err != nil || got.ID != m.config || got.Manifest.Digest != m.desc.Digest {
				t.Errorf("%s on %s is %v (%v)", ref, arch, got, err)
			}
		}
		var none *NoPlatformError
		if _, err := f.On(ref, ParsePlatform("linux/ppc64le")); !errors.As(err, &none) || !errors.Is(err, ErrNoPlatform) {
			t.Errorf("%s on ppc64le: %v", ref, err)
		}
	}
	if got, err := f.Get(f.u.host() + "/many@" + f.byArc["arm64"].desc.Digest.String()); err != nil || got.Config.Architecture != "arm64" {
		t.Errorf("by the manifest of arm64: %v (%v)", got, err)
	}
	if got, err := f.Get(f.byArc["arm64"].config.String()); err != nil || got.Config.Architecture != "arm64" || len(got.RepoTags) != 1 {
		t.Errorf("by the ID of arm64: %v (%v)", got, err)
	}

	// Another name, another index, a restart: all stays together.
	if err := f.Tag(context.Background(), f.ref, "other:1"); err != nil {
		t.Fatal(err)
	}
	f.close()
	f.open()
	check("other:1", "amd64 arm64 s390x, shows amd64", 1)
}

func TestRemovalLetsAllPlatformsGo(t *testing.T) {
	ctx := context.Background()
	plat := func(arch string) RemoveOptions {
		return RemoveOptions{Force: true, Platforms: []ocispec.Platform{{OS: "linux", Architecture: arch}}}
	}
	for name, c := range map[string]struct {
		tags   []string // beside the first name
		used   string   // architecture that a container uses
		remove string   // "" = the first name
		opts   RemoveOptions
		err    error
		left   string // of the first name
		other  string // of the last tag
		images int
		clean  bool // nothing is left on disk
	}{
		"by name":                     {left: "nothing", images: 0, clean: true},
		"by name, another is left":    {tags: []string{"other:1"}, left: "nothing", other: "amd64 arm64, shows amd64", images: 1},
		"by name, one is used":        {used: "arm64", err: ErrInUse, left: "amd64 arm64, shows amd64", images: 1},
		"by the ID that is shown":     {remove: "amd64", left: "nothing", images: 0, clean: true},
		"by the ID of one beside":     {remove: "arm64", left: "amd64, shows amd64", images: 1},
		"by platform":                 {opts: plat("arm64"), left: "amd64, shows amd64", images: 1},
		"by platform, that is shown":  {opts: plat("amd64"), left: "arm64, shows arm64", images: 1},
		"by platform, for all names":  {tags: []string{"other:1"}, opts: plat("amd64"), left: "arm64, shows arm64", other: "arm64, shows arm64", images: 1},
		"by platform, not here":       {opts: plat("s390x"), err: ErrNoPlatform, left: "amd64 arm64, shows amd64", images: 1},
		"by platform, used":           {opts: plat("arm64"), used: "arm64", err: ErrInUse, left: "amd64 arm64, shows amd64", images: 1},
		"by platform, another used":   {opts: plat("arm64"), used: "amd64", left: "amd64, shows amd64", images: 1},
		"by all platforms":            {opts: RemoveOptions{Force: true, Platforms: []ocispec.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm64"}}}, left: "nothing", images: 0, clean: true},
		"by the digest of the index":  {remove: "index", left: "nothing", images: 0, clean: true},
		"by ID, with several tags":    {tags: []string{"other:1"}, remove: "amd64", err: ErrConflict, left: "amd64 arm64, shows amd64", images: 1},
		"by ID, with several, forced": {tags: []string{"other:1"}, remove: "amd64", opts: RemoveOptions{Force: true}, left: "nothing", other: "nothing", images: 0, clean: true},
	} {
		t.Run(name, func(t *testing.T) {
			f := newForest(t)
			f.pull(t, "amd64")
			f.pull(t, "arm64")
			for _, tag := range c.tags {
				if err := f.Tag(ctx, f.ref, tag); err != nil {
					t.Fatal(err)
				}
			}
			if c.used != "" {
				f.used[f.byArc[c.used].config] = true
			}
			ref := f.ref
			if m := f.byArc[c.remove]; m != nil {
				ref = m.config.String()
			} else if c.remove == "index" {
				ref = f.index.String()
			}
			if _, err := f.Remove(ctx, ref, c.opts); !errors.Is(err, c.err) {
				t.Fatalf("remove: %v, want %v", err, c.err)
			}
			if got := f.here(f.ref); got != c.left {
				t.Errorf("%s is left, want %s", got, c.left)
			}
			if len(c.tags) > 0 && c.other != "" {
				if got := f.here(c.tags[0]); got != c.other {
					t.Errorf("%s is left of the other, want %s", got, c.other)
				}
			}
			if n := f.listed(); n != c.images {
				t.Errorf("%d images are listed, want %d", n, c.images)
			}
			if left := f.leftovers(); c.clean && len(left) > 0 {
				t.Errorf("left on disk: %v", left)
			}
			// What was removed can come again, whole.
			if c.err == nil {
				f.pull(t, "amd64")
				if img := f.pull(t, "arm64"); len(f.Statements(img)) != 1 {
					t.Error("pulled again, nothing is said about it")
				}
				if got := f.here(f.ref); got != "amd64 arm64, shows amd64" {
					t.Errorf("pulled again: %s", got)
				}
			}
		})
	}
}

// What was said about a platform goes with it, and its layers do.
func TestAPlatformGoesWithAllItsBlobs(t *testing.T) {
	f := newForest(t)
	f.pull(t, "amd64")
	before := len(f.leftovers())
	f.pull(t, "arm64")
	if _, err := f.Remove(context.Background(), f.ref, RemoveOptions{Force: true, Platforms: []ocispec.Platform{{OS: "linux", Architecture: "arm64"}}}); err != nil {
		t.Fatal(err)
	}
	if after := f.leftovers(); len(after) != before {
		t.Errorf("%d files, %d before the platform came: %v", len(after), before, after)
	}
}

// An image whose tag moved is one image without a tag, of all its platforms, and goes as one.
func TestWithoutANamePlatformsStayTogether(t *testing.T) {
	ctx := context.Background()
	f := newForest(t)
	imgs := []*Image{f.pull(t, "amd64"), f.pull(t, "arm64")}
	if _, err := f.Gather(ctx, Gathering{Images: imgs, Index: true}, []string{"built:1"}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Remove(ctx, f.ref, RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := f.here("built:1"); got != "amd64 arm64, shows amd64" {
		t.Errorf("built:1 has %s", got)
	}
	other := makeImage(t, [][]byte{layerTar(t, file{"other", "x"})})
	f.u.push(t, "other", "1", other)
	if _, err := f.Pull(ctx, f.u.host()+"/other:1", PullOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := f.Tag(ctx, f.u.host()+"/other:1", "built:1"); err != nil {
		t.Fatal(err)
	}
	if n := f.listed(); n != 2 {
		t.Errorf("%d images are listed, want the new and the old without a name", n)
	}
	f.used[f.byArc["arm64"].config] = true
	if _, _, err := f.Prune(ctx, PruneOptions{}); err != nil || f.listed() != 2 {
		t.Errorf("prune took an image of which one platform is used (%v)", err)
	}
	use, err := f.Usage(ctx)
	if err != nil || len(use.Images) != 2 || use.Reclaimable <= 0 || use.Reclaimable >= use.LayersSize+use.BlobsSize {
		t.Errorf("usage of %d images, %d of %d and %d bytes to be had back while one is used (%v)", len(use.Images), use.Reclaimable, use.LayersSize, use.BlobsSize, err)
	}
	f.used = map[digest.Digest]bool{}
	if _, _, err := f.Prune(ctx, PruneOptions{}); err != nil || f.listed() != 1 {
		t.Errorf("prune left %d images (%v)", f.listed(), err)
	}
}

func TestArchivesOfSeveralPlatforms(t *testing.T) {
	ctx := context.Background()
	f := newForest(t)
	f.pull(t, "amd64")
	f.pull(t, "arm64")
	arm, s390 := ocispec.Platform{OS: "linux", Architecture: "arm64"}, ocispec.Platform{OS: "linux", Architecture: "s390x"}
	var whole, one bytes.Buffer
	if err := f.Export(ctx, &whole, ExportOptions{}, f.ref); err != nil {
		t.Fatal(err)
	}
	if err := f.Export(ctx, &one, ExportOptions{Platforms: []ocispec.Platform{arm}}, f.ref); err != nil {
		t.Fatal(err)
	}
	if err := f.Export(ctx, io.Discard, ExportOptions{Platforms: []ocispec.Platform{s390}}, f.ref); !errors.Is(err, ErrNoPlatform) {
		t.Errorf("export of what is not here: %v", err)
	}
	for name, c := range map[string]struct {
		archive []byte
		opts    ImportOptions
		err     error
		has     string
		said    int
	}{
		"all":             {archive: whole.Bytes(), has: "amd64 arm64, shows amd64", said: 1},
		"one of them":     {archive: whole.Bytes(), opts: ImportOptions{Platforms: []ocispec.Platform{arm}}, has: "arm64, shows arm64", said: 1},
		"two of them":     {archive: whole.Bytes(), opts: ImportOptions{Platforms: []ocispec.Platform{arm, {OS: "linux", Architecture: "amd64"}}}, has: "amd64 arm64, shows amd64", said: 1},
		"none of them":    {archive: whole.Bytes(), opts: ImportOptions{Platforms: []ocispec.Platform{s390}}, err: ErrNoPlatform, has: "nothing"},
		"the only one":    {archive: one.Bytes(), has: "arm64, shows arm64"},
		"not the only":    {archive: one.Bytes(), opts: ImportOptions{Platforms: []ocispec.Platform{s390}}, err: ErrNoPlatform, has: "nothing"},
		"without an arch": {archive: without(t, whole.Bytes(), blobPath(f.byArc["arm64"].config)), has: "amd64, shows amd64", said: 1},
	} {
		t.Run(name, func(t *testing.T) {
			into := newForest(t)
			imgs, err := into.Import(ctx, bytes.NewReader(c.archive), c.opts)
			if !errors.Is(err, c.err) {
				t.Fatalf("import: %v, want %v", err, c.err)
			}
			if got := into.here(f.ref); got != c.has {
				t.Errorf("%s is there, want %s", got, c.has)
			}
			if c.err != nil {
				if left := into.leftovers(); len(left) > 0 {
					t.Errorf("left on disk: %v", left)
				}
				return
			}
			if len(imgs) != 1 {
				t.Fatalf("%d images", len(imgs))
			}
			if n := len(into.Statements(imgs[0])); n != c.said {
				t.Errorf("%d statements, want %d", n, c.said)
			}
		})
	}

	// Docker's own list in the archive tells of the host's platform.
	var list []dockerImage
	for r := tar.NewReader(&whole); ; {
		h, err := r.Next()
		if err != nil {
			break
		}
		if h.Name == "manifest.json" {
			if err := json.NewDecoder(r).Decode(&list); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(list) != 1 || list[0].Config != blobPath(f.byArc["amd64"].config) || !slices.Equal(list[0].RepoTags, []string{f.ref}) {
		t.Errorf("manifest.json has %v", list)
	}
}

func TestPushOfSeveralPlatforms(t *testing.T) {
	ctx := context.Background()
	for name, c := range map[string]struct {
		pulled   []string
		platform string
		want     func(*forest) digest.Digest
		selected bool
		err      error
	}{
		"all is here":            {pulled: []string{"amd64", "arm64", "s390x"}, want: func(f *forest) digest.Digest { return f.index }},
		"a part is here":         {pulled: []string{"amd64", "arm64"}, want: func(f *forest) digest.Digest { return f.byArc["amd64"].desc.Digest }, selected: true},
		"another part":           {pulled: []string{"s390x"}, want: func(f *forest) digest.Digest { return f.byArc["s390x"].desc.Digest }, selected: true},
		"one":                    {pulled: []string{"amd64", "arm64", "s390x"}, platform: "arm64", want: func(f *forest) digest.Digest { return f.byArc["arm64"].desc.Digest }},
		"one that is not here":   {pulled: []string{"amd64"}, platform: "arm64", err: ErrNoPlatform},
		"one that is not in it":  {pulled: []string{"amd64"}, platform: "ppc64le", err: ErrNoPlatform},
		"one, the only one here": {pulled: []string{"arm64"}, platform: "arm64", want: func(f *forest) digest.Digest { return f.byArc["arm64"].desc.Digest }},
	} {
		t.Run(name, func(t *testing.T) {
			f := newForest(t)
			for _, arch := range c.pulled {
				f.pull(t, arch)
			}
			to := f.u.host() + "/pushed:1"
			if err := f.Tag(ctx, f.ref, to); err != nil {
				t.Fatal(err)
			}
			opts := PushOptions{}
			if c.platform != "" {
				opts.Platform = &ocispec.Platform{OS: "linux", Architecture: c.platform}
			}
			selected := false
			opts.Progress = func(e Event) {
				if s := e.Selected; s != nil {
					selected = s.Index.Digest == f.index && s.Manifest.Digest == c.want(f)
				}
			}
			d, err := f.Push(ctx, to, opts)
			if !errors.Is(err, c.err) {
				t.Fatalf("push: %v, want %v", err, c.err)
			}
			if err != nil {
				return
			}
			if d.Digest != c.want(f) || selected != c.selected {
				t.Errorf("pushed %s, told of a selection: %t", d.Digest, selected)
			}
			if n := f.listed(); n != 1 {
				t.Errorf("%d images are listed after the push", n)
			}
			into := newBed(t)
			p := ParsePlatform("linux/" + c.pulled[0])
			if c.platform != "" {
				p = ParsePlatform("linux/" + c.platform)
			}
			img, err := into.Pull(ctx, to, PullOptions{Platform: &p, Said: true})
			if err != nil || img.Target.Digest != c.want(f) {
				t.Errorf("pulled it is %v (%v)", img, err)
			}
		})
	}
}

// An image that comes again by another manifest, as archives of other tools have it, leaves the index whole.
func TestTheSameImageByTwoManifests(t *testing.T) {
	ctx := context.Background()
	f := newForest(t)
	f.pull(t, "amd64")
	f.pull(t, "arm64")
	amd := f.byArc["amd64"]
	w := f.Work()
	l, err := w.AddLayer(ctx, bytes.NewReader(layerTar(t, file{"arch", "amd64"})))
	if err != nil {
		t.Fatal(err)
	}
	l.Blob.Annotations = map[string]string{"made": "again"}
	again, err := w.Create(ctx, CreateOptions{Config: amd.blobs[amd.config], Layers: []LayerBlob{l}, Names: []string{"again:1"}})
	if err != nil || again.ID != amd.config || again.Manifest.Digest == amd.desc.Digest || amd.blobs[l.Blob.Digest] != nil {
		t.Fatalf("it came as %v (%v)", again, err)
	}
	w.Done()
	if _, _, err := f.Prune(ctx, PruneOptions{}); err != nil {
		t.Fatal(err)
	}
	var whole bytes.Buffer
	if err := f.Export(ctx, &whole, ExportOptions{}, f.ref); err != nil {
		t.Fatal(err)
	}
	into := newForest(t)
	if _, err := into.Import(ctx, &whole, ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := into.here(f.ref); got != "amd64 arm64, shows amd64" {
		t.Errorf("the archive has %s", got)
	}
	if _, err := f.Remove(ctx, f.ref, RemoveOptions{}); err != nil || f.here("again:1") != "amd64, shows amd64" {
		t.Errorf("after the removal of the index there is %s (%v)", f.here("again:1"), err)
	}
}

// A database of before records knew the index that they came by is read as it is.
func TestOldRecordsKnowTheirIndexByTheirNames(t *testing.T) {
	f := newForest(t)
	f.pull(t, "amd64")
	f.pull(t, "arm64")
	f.mu.Lock()
	c := change{images: map[digest.Digest]*imageRecord{}, names: map[string]*nameRecord{}}
	for id, h := range f.images {
		rec := h.rec
		rec.Target = ocispec.Descriptor{}
		c.images[id] = &rec
	}
	err := writeDB(f.db, c)
	f.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	f.close()
	f.open()
	if got := f.here(f.ref); got != "amd64 arm64, shows amd64" || f.listed() != 1 {
		t.Errorf("%s, %d images are listed", got, f.listed())
	}
	if _, err := f.Remove(context.Background(), f.ref, RemoveOptions{}); err != nil || len(f.leftovers()) > 0 {
		t.Errorf("removal leaves %v (%v)", f.leftovers(), err)
	}
}

// Indexes that name each other many times over, as somebody's registry or archive may have them, cost no more than what they are.
func TestTreeOfManyNames(t *testing.T) {
	b := newBed(t)
	image := makeImage(t, [][]byte{layerTar(t, file{"f", "f"})})
	put := func(raw []byte) digest.Digest {
		t.Helper()
		d, err := b.cfg.Content.Put(raw)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	put(image.manifest)
	desc, kind := image.desc, ocispec.MediaTypeImageManifest
	for range maxDepth {
		x := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex}
		x.SchemaVersion = 2
		for range 3000 {
			x.Manifests = append(x.Manifests, ocispec.Descriptor{MediaType: kind, Digest: desc.Digest, Size: desc.Size})
		}
		for i := range 4000 {
			x.Manifests = append(x.Manifests, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString(desc.Digest.String() + strconv.Itoa(i)), Size: 1})
		}
		raw, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		desc, kind = ocispec.Descriptor{Digest: put(raw), Size: int64(len(raw))}, ocispec.MediaTypeImageIndex
	}
	got := b.readTree(desc.Digest)
	if len(got.inner) != maxDepth-1 || len(got.branches) > maxBranches || !got.names(image.config) {
		t.Errorf("%d indexes, %d branches", len(got.inner), len(got.branches))
	}
}
