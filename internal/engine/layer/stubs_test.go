package layer

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestStubs(t *testing.T) {
	changes := []Change{{Path: "/a", Kind: Added}, {Path: "/a/b", Kind: Added}, {Path: "/etc", Kind: Modified, Same: true}, {Path: "/etc/hosts", Kind: Added},
		{Path: "/full", Kind: Added}, {Path: "/full/x", Kind: Added}, {Path: "/gone", Kind: Deleted}}
	changes = append(changes, Change{Path: "/mode", Kind: Modified}, Change{Path: "/mode/m", Kind: Added}, Change{Path: "/was", Kind: Modified, Same: true}, Change{Path: "/with", Kind: Modified, Same: true},
		Change{Path: "/with/m", Kind: Added}, Change{Path: "/with/x", Kind: Added})
	got := Stubs(changes, []string{"/a/b", "/etc/hosts", "/full", "/gone", "/dev/shm", "/..", "/mode/m", "/was", "/with/m"})
	want := map[string]bool{"/a": true, "/a/b": true, "/etc/hosts": true, "/etc": true, "/mode/m": true, "/with/m": true}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// Each place that the runtime mounts on is there, or lies in another mount; whatever was there before.
func TestTargets(t *testing.T) {
	dir := t.TempDir()
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	for range 2 { // a store is opened again and again
		if err := makeTargets(dir); err != nil {
			t.Fatal(err)
		}
	}
	for _, target := range RuntimeTargets {
		inside := slices.ContainsFunc(RuntimeTargets, func(other string) bool { return strings.HasPrefix(target, other+"/") })
		if info, err := os.Stat(filepath.Join(dir, target)); !inside && (err != nil || info.Mode().Perm() != 0o755) {
			t.Errorf("%s: %v, %v", target, info, err)
		}
	}
}
