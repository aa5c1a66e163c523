package record

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// On a full disk nothing new is kept, but what becomes of a thing that is there, until its end, and the room that was kept for that is there after a start.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a small file system of its own needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("nau-test", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("mount tmpfs: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	d := open(t, filepath.Join(dir, "records"))
	must(t, d.Commit("a", &thing{"a"}), d.Commit("b", &thing{"b"}))
	if err := os.WriteFile(filepath.Join(dir, "filler"), bytes.Repeat([]byte{1}, 2<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	long := strings.Repeat("x", 4<<10)
	var err error
	for n := 0; err == nil; n++ { // what lies ahead is for everybody
		if n == 20 {
			t.Fatal("records are kept without room")
		}
		err = d.Commit("new", &thing{long})
		must(t, d.Delete("new"))
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Errorf("a new record on a full disk: %v", err)
	}
	for range 4 {
		must(t, d.Commit("a", &thing{long}))
	}
	d = open(t, filepath.Join(dir, "records"))
	for range 4 {
		must(t, d.Commit("a", &thing{long}))
	}
	must(t, d.Delete("b"))
	if got, _ := names(t, open(t, filepath.Join(dir, "records"))); !maps.Equal(got, map[string]string{"a": long}) {
		t.Errorf("%d records", len(got))
	}
	must(t, d.Delete("a"))
}
