package build

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// What is collected by itself: nothing of a small cache on a disk with room, the least recently used of a large one, and nothing that is used lately
// as long as the reserve is not used up.
func TestRules(t *testing.T) {
	const disk = 1000
	now := time.Unix(1e9, 0)
	day := 24 * time.Hour
	list := []Usage{
		{ID: "ancient", Kind: KindLayer, Size: 60, Used: now.Add(-70 * day)},
		{ID: "folder", Kind: KindMount, Size: 30, Used: now.Add(-3 * day)},
		{ID: "shared", Kind: KindLayer, Size: 100, Used: now.Add(-2 * day), Shared: true},
		{ID: "older", Kind: KindLayer, Size: 500, Used: now.Add(-2 * day)},
		{ID: "new", Kind: KindLayer, Size: 90, Used: now},
	}
	for _, c := range []struct {
		name string
		free int64
		grow int64 // of "older"
		want []string
	}{
		{"a disk with room", 500, 0, []string{"folder"}},
		{"a cache that is too large, and its shared part, which frees nothing yet", 500, 200, []string{"folder", "ancient", "shared"}},
		{"a disk that is nearly full", 100, 0, []string{"folder", "ancient", "older"}},
	} {
		left := slices.Clone(list)
		left[3].Size += c.grow
		var got []string
		free := c.free
		for _, r := range Rules(disk) {
			r.Free = free
			for _, u := range choose(of(slices.Clone(left), r.Kinds), r.PruneOptions, now) {
				got = append(got, u.ID)
				free += u.Size
				left = slices.DeleteFunc(left, func(o Usage) bool { return o.ID == u.ID })
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v go, want %v", c.name, got, c.want)
		}
	}
}

// A collection lets alone what a build is about to write, and what another one took away.
func TestSweepBesidePut(t *testing.T) {
	b := newBed(t)
	half, stray := filepath.Join(b.b.cache.dir, "key"+unwritten), filepath.Join(b.b.cache.dir, "odd")
	for _, path := range []string{half, stray} {
		if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.b.cache.sweep(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(half); err != nil {
		t.Errorf("a record that is being written is gone: %v", err)
	}
	if _, err := os.Stat(stray); !os.IsNotExist(err) {
		t.Errorf("a record that says nothing stays: %v", err)
	}
}

// A build only asks for a collection, and the rules say what goes.
func TestCollect(t *testing.T) {
	b := newBed(t)
	b.must(map[string]string{"Dockerfile": "FROM BASE\nRUN echo 1 > /f\n"}, nil)
	now := time.Now()
	if removed, err := b.b.Collect(t.Context(), now); err != nil {
		t.Errorf("a new cache lost %v, %v", removed, err)
	}
	if b.b.collected != now {
		t.Error("the first collection did not happen")
	}
	if _, err := b.b.Collect(t.Context(), now.Add(CollectEvery/2)); err != nil || b.b.collected != now {
		t.Errorf("a second one at once, %v", err)
	}
	if _, err := b.b.Collect(t.Context(), now.Add(CollectEvery)); err != nil || b.b.collected == now {
		t.Errorf("none after a while, %v", err)
	}
}
