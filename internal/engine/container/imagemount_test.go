package container

import (
	"errors"
	"os"
	"testing"

	"nau/internal/kernel"
)

// A part of a volume or image never leads out of it, whatever links it holds.
func TestOpenPart(t *testing.T) {
	root := t.TempDir()
	for _, err := range []error{os.MkdirAll(root+"/a/b", 0o755), os.WriteFile(root+"/a/file", nil, 0o644), os.Symlink("/etc", root+"/out"),
		os.Symlink("out", root+"/far"), os.Symlink("../..", root+"/up"), os.Symlink("a", root+"/in"), os.Symlink("../in/b", root+"/a/again")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	const good, escapes, missing = "good", "escapes", "missing"
	for sub, want := range map[string]string{"": good, "a": good, "a/b": good, "a/file": good, "in/b": good, "a/again": good,
		"../../etc": escapes, "/etc": escapes, "out": escapes, "far": escapes, "up": escapes, "none": missing} {
		fd, err := OpenPart(root, sub)
		got := good
		var part *PartError
		switch {
		case errors.As(err, &part) && part.Escapes():
			got = escapes
		case errors.Is(err, os.ErrNotExist):
			got = missing
		case err != nil:
			got = err.Error()
		default:
			kernel.Close(fd)
		}
		if got != want {
			t.Errorf("%q: %s (%v), want %s", sub, got, err, want)
		}
	}
}
