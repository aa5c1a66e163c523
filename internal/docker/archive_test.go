package docker

import (
	"testing"

	dc "github.com/moby/moby/api/types/container"
)

func TestWritable(t *testing.T) {
	mounts := []dc.MountPoint{{Destination: "/ro"}, {Destination: "/ro/in", RW: true}, {Destination: "/rw", RW: true}, {Destination: "/rw/in"}}
	for _, c := range []struct {
		name string
		root bool
		want string
	}{
		{"/x", false, ""}, {"/x", true, "container rootfs is marked read-only"},
		{"/ro", false, "mounted volume is marked read-only"}, {"/ro/a/", false, "mounted volume is marked read-only"}, {"ro/a", true, "mounted volume is marked read-only"},
		{"/ro/in/a", true, ""}, {"/rw", true, ""}, {"/rw/in/a", false, "mounted volume is marked read-only"}, {"/rwx", true, "container rootfs is marked read-only"},
		{"/rw/../x", true, "container rootfs is marked read-only"},
	} {
		got := ""
		if err := writable(c.name, c.root, mounts); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s, read-only root %v: %q, want %q", c.name, c.root, got, c.want)
		}
	}
}
