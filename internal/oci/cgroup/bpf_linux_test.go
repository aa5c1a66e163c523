package cgroup

import (
	"os"
	"path/filepath"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"nau/internal/kernel"
)

// The kernel's verifier takes what is compiled, on a host of any mode that has a version 2 hierarchy.
func TestDeviceFilterIsAccepted(t *testing.T) {
	if err := kernel.Root.Check(); err != nil {
		t.Skip(err)
	}
	layout, err := kernel.Cgroups()
	if err != nil {
		t.Fatal(err)
	}
	h, ok := layout.Unified()
	if !ok {
		t.Skip("no version 2 hierarchy")
	}
	dir := filepath.Join(h.Mount, "nau-oci-test-bpf")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(dir)
	if err := applyDeviceFilter(dir, []specs.LinuxDeviceCgroup{{Access: "rwm"}, rule(true, "c", 10, 229, "rw"), rule(false, "b", 8, 3, "w")}); err != nil {
		t.Fatal(err)
	}
}
