package layer

import (
	"reflect"
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
