package build

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nau/internal/engine/image"
)

// TestCacheOutlivesImages: what a build keeps on its way is no image to anybody, stays when its result is removed and when images are pruned, and
// goes when the builder is told so. A result that is the last step as well is an image until it is removed.
func TestCacheOutlivesImages(t *testing.T) {
	b := newBed(t)
	files := map[string]string{"Dockerfile": "FROM BASE\nCOPY a /a\nCOPY b /b\n", "a": "1", "b": "2"}
	steps := func() int {
		t.Helper()
		_, out := b.must(files, nil)
		return 2 - strings.Count(out, "Using cache")
	}
	images := func(what string, want int) {
		t.Helper()
		if n := len(b.e.Images.List()) - 1; n != want {
			t.Errorf("%s: %d images besides the base, want %d", what, n, want)
		}
	}
	img, _ := b.must(files, func(r *Request) { r.Tags = []string{"result:1"} })
	images("after a build", 1)
	if img.Parent != "" {
		t.Errorf("the result names a parent, %s", img.Parent)
	}
	removed, err := b.e.Images.Remove(t.Context(), "result:1", image.RemoveOptions{})
	if err != nil || len(removed) != 2 {
		t.Errorf("its removal: %v, %v", removed, err)
	}
	images("after its removal", 0)
	if n := steps(); n != 0 {
		t.Errorf("%d steps are done again after the removal of the image", n)
	}
	images("after a build without a name", 1)
	if _, _, err := b.e.Images.Prune(t.Context(), image.PruneOptions{}); err != nil {
		t.Fatal(err)
	}
	images("after a prune of images", 0)
	if n := steps(); n != 0 {
		t.Errorf("%d steps are done again after a prune of images", n)
	}
	use, err := b.e.Images.Usage(t.Context())
	if err != nil || len(use.Images) != 2 {
		t.Errorf("%d images take room, want 2 (%v)", len(use.Images), err)
	}
	if _, err := b.b.Prune(t.Context(), PruneOptions{All: true}); err != nil {
		t.Fatal(err)
	}
	if n := steps(); n != 2 {
		t.Errorf("%d steps are done again after a prune of the cache, want both", n)
	}
	// A build that is killed leaves steps that no record names: they go at the next start, and the images stay.
	records, err := os.ReadDir(b.b.cache.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if err := os.Remove(filepath.Join(b.b.cache.dir, r.Name())); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.b.dropOrphans(); err != nil {
		t.Fatal(err)
	}
	images("after a start", 1)
	if _, _, err := b.e.Images.Prune(t.Context(), image.PruneOptions{All: true}); err != nil {
		t.Fatal(err)
	}
	if left := b.e.Layers.Layers(); len(left) != 0 {
		t.Errorf("%d layers stay and nobody has them", len(left))
	}
}
