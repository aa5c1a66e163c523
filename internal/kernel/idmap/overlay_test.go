package idmap

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"nau/internal/kernel"
)

// Lower folders show shifted owners, and what is written above belongs to the host's ids: with the layers in a detached mount, and in one with a place
// (as before Linux 6.15).
func TestOverlayOfMappedFolders(t *testing.T) {
	for _, p := range []*kernel.Probe{kernel.Root, kernel.UserNS, kernel.IDMap} {
		if err := p.Check(); err != nil {
			t.Skip(err)
		}
	}
	dir := t.TempDir()
	base := filepath.Join(dir, "layers")
	o := kernel.Overlay{Base: base, Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work")}
	for i := range 3 {
		o.Lower = append(o.Lower, filepath.Join(base, fmt.Sprint(i), "fs"))
	}
	for _, d := range append([]string{o.Upper, o.Work}, o.Lower...) {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for i, d := range o.Lower {
		name := filepath.Join(d, fmt.Sprint(i))
		if err := os.WriteFile(name, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(name, i, i+1); err != nil {
			t.Fatal(err)
		}
	}
	ns, err := Block(500000, 600000, 2).Namespace()
	if err != nil {
		t.Fatal(err)
	}
	defer kernel.Close(ns)
	o.UserNS = ns
	for way, mount := range map[string]func(int) (*kernel.Tree, error){"as this kernel can": o.Mount, "with a place": o.MountPlaced} {
		tree, err := mount(0)
		if err != nil {
			t.Errorf("%s: %v", way, err)
			continue
		}
		for name, want := range map[string][2]uint32{"0": {500000, 600001}, "1": {500001, Overflow}, "2": {Overflow, Overflow}} {
			var st unix.Stat_t
			if err := unix.Fstatat(tree.Fd(), name, &st, 0); err != nil || [2]uint32{st.Uid, st.Gid} != want {
				t.Errorf("%s: %s belongs to %d:%d, %v, want %v", way, name, st.Uid, st.Gid, err, want)
			}
		}
		// Copied up, it keeps the owner that is seen.
		if err := unix.Fchmodat(tree.Fd(), "0", 0o600, 0); err != nil {
			t.Errorf("%s: %v", way, err)
		}
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(o.Upper, "0"), &st); err != nil || st.Uid != 500000 || st.Gid != 600001 {
			t.Errorf("%s: the copy belongs to %d:%d, %v", way, st.Uid, st.Gid, err)
		}
		tree.Close()
	}
	if err := unix.Stat(filepath.Join(o.Lower[0], "0"), new(unix.Stat_t)); err != nil {
		t.Error(err)
	}
}
