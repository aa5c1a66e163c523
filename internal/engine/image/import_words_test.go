package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"
)

// TestBadArchivesAreNamed: archives that are none are told in the words of a Docker Engine 29, and nothing of them stays.
func TestBadArchivesAreNamed(t *testing.T) {
	one, two := string(layerTar(t, file{"a", "one"})), string(layerTar(t, file{"b", "two"}))
	sum := func(s string) string { return digest.FromString(s).String() }
	config := func(diffs ...string) string {
		return fmt.Sprintf(`{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["%s","%s"]}}`, diffs[0], diffs[len(diffs)-1])
	}
	manifest := func(config, tag string, layers ...string) string {
		return fmt.Sprintf(`[{"Config":%q,"RepoTags":[%q],"Layers":["%s","%s"]}]`, config, tag, layers[0], layers[1])
	}
	good := config(sum(one), sum(two))
	files := func(f ...file) []byte { return layerTar(t, f...) }
	whole := files(file{"c.json", good}, file{"1/layer.tar", one}, file{"2/layer.tar", two}, file{"manifest.json", manifest("c.json", "a:1", "1/layer.tar", "2/layer.tar")})
	for want, archive := range map[string][]byte{
		"invalid archive: does not contain a manifest.json": files(file{"repositories", `{"a":{"1":"x"}}`}, file{"x/layer.tar", one}, file{"x/json", "{}"}),
		"invalid archive: names no image":                   files(file{"manifest.json", "[]"}),
		"invalid archive: failed to decode manifest.json: invalid character 'n' looking for beginning of object key string": files(file{"manifest.json", "{n"}),
		"archive/tar: invalid tar header":             bytes.Repeat([]byte("hello\n"), 300),
		"unexpected EOF":                              whole[:2000],
		`image config "../../etc/hostname" not found`: files(file{"manifest.json", manifest("../../etc/hostname", "a:1", "1", "2")}),
		`layer "2/layer.tar" not found`:               files(file{"c.json", good}, file{"1/layer.tar", one}, file{"manifest.json", manifest("c.json", "a:1", "1/layer.tar", "2/layer.tar")}),
		"invalid manifest, layers length mismatch: expected 2, got 1": files(file{"c.json", fmt.Sprintf(`{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":["%s"]}}`, sum(one))},
			file{"1/layer.tar", one}, file{"2/layer.tar", two}, file{"manifest.json", manifest("c.json", "a:1", "1/layer.tar", "2/layer.tar")}),
		fmt.Sprintf("invalid diffID for layer 1: expected %q, got %q", sum("other"), sum(two)): files(file{"c.json", config(sum(one), sum("other"))},
			file{"1/layer.tar", one}, file{"2/layer.tar", two}, file{"manifest.json", manifest("c.json", "a:1", "1/layer.tar", "2/layer.tar")}),
		`read reference "Bad:Tag": invalid reference format: invalid reference format: repository name (library/Bad) must be lowercase`: files(file{"c.json", good},
			file{"1/layer.tar", one}, file{"2/layer.tar", two}, file{"manifest.json", manifest("c.json", "Bad:Tag", "1/layer.tar", "2/layer.tar")}),
	} {
		b := newBed(t)
		_, err := b.Import(context.Background(), bytes.NewReader(archive), ImportOptions{})
		var bad *ArchiveError
		if !errors.As(err, &bad) || bad.Error() != want || !errors.Is(err, ErrArchive) {
			t.Errorf("%v\nwant: %s", err, want)
		}
		if n := len(b.List()); n != 0 {
			t.Errorf("%s: %d images stay", want, n)
		}
	}
	b := newBed(t)
	if _, err := b.Import(context.Background(), bytes.NewReader(whole), ImportOptions{}); err != nil {
		t.Errorf("the good one: %v", err)
	}
}

// TestLoadedIsToldOnce: a name that an archive has in manifest.json and in index.json is one name; an image saved by its ID or digest has none.
func TestLoadedIsToldOnce(t *testing.T) {
	u, b := newUpstream(t, nil), newBed(t)
	u.push(t, "x", "1", makeImage(t, [][]byte{layerTar(t, file{"a", "a"})}))
	img, err := b.Pull(context.Background(), u.host()+"/x:1", PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	nameless := "Loaded image ID: " + img.ID.String()
	for ref, want := range map[string]string{u.host() + "/x:1": "Loaded image: " + u.host() + "/x:1", img.ID.String(): nameless, img.RepoDigests[0]: nameless} {
		var archive bytes.Buffer
		if err := b.Export(context.Background(), &archive, ExportOptions{}, ref); err != nil {
			t.Fatal(err)
		}
		if want == nameless && !bytes.Contains(archive.Bytes(), []byte(`"RepoTags":null`)) {
			t.Errorf("manifest.json gives an image saved by its ID a name")
		}
		var told []string
		if _, err := newBed(t).Import(context.Background(), &archive, ImportOptions{Progress: func(e Event) { told = append(told, e.Status) }}); err != nil {
			t.Fatal(err)
		}
		if len(told) != 1 || told[0] != want {
			t.Errorf("%q, want only %q", told, want)
		}
	}
}
