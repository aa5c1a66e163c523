package layer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"archive/tar"
)

// A layer that is poured over files hides what its whiteouts name below it, wherever they stand in the archive, and nothing of its own, and nothing
// that a link leads to.
func TestPour(t *testing.T) {
	needRoot(t)
	root, outside := t.TempDir(), t.TempDir()
	for _, name := range []string{"old/deep/f", "dir/a", "dir/b", "kept/x", "real/y"} {
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(outside+"/z", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"link": "real", "away": outside} {
		if err := os.Symlink(to, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	archive := tarOf(t, te{name: "dir/", typ: tar.TypeDir}, te{name: "dir/c", body: "c"}, te{name: "dir/.wh..wh..opq"}, te{name: "old", body: "a file now"}, te{name: ".wh.old"},
		te{name: "link/.wh.y"}, te{name: "away/.wh.z"}, te{name: ".wh..."}, te{name: ".wh.nothing"}, te{name: "none/.wh.x"})
	err := Pour(context.Background(), root, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive)), nil })
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	err = filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if path != root {
			have = append(have, path[len(root)+1:])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"away", "dir", "dir/c", "kept", "kept/x", "link", "old", "real", "real/y"}; !slices.Equal(have, want) {
		t.Errorf("%q, want %q", have, want)
	}
	if _, err := os.Stat(outside + "/z"); err != nil {
		t.Error(err)
	}
}

// Contexts of builds may have names with ".." that stay inside.
func TestExtractDots(t *testing.T) {
	needRoot(t)
	for name, inside := range map[string]bool{"dir/../foo": true, "./foo": true, "dir/../../foo": false, "../foo": false, "..": false} {
		root := t.TempDir()
		err := Extract(context.Background(), root, "/", bytes.NewReader(tarOf(t, te{name: name, body: "x"})), ExtractOptions{Dots: true})
		_, there := os.Stat(root + "/foo")
		if inside != (err == nil) || inside != (there == nil) || !inside && !errors.Is(err, ErrArchive) {
			t.Errorf("%s: %v, %v", name, err, there)
		}
	}
}
