// Package ocitest makes bundles for the tests of the runtime and the monitor: a root file system with a static busybox and
// a configuration to change. Tests only.
package ocitest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"nau/internal/kernel"
	"nau/internal/oci"
)

// Need skips the test unless it runs as root on a host with a static busybox.
func Need(t testing.TB) {
	t.Helper()
	if err := kernel.Root.Check(); err != nil {
		t.Skip(err)
	}
	if _, err := os.Stat(busybox); err != nil {
		t.Skipf("no static busybox: %v", err)
	}
}

const busybox = "/bin/busybox"

var applets = strings.Fields("sh true false echo cat sleep ls mount umount id hostname env pwd grep kill dd head readlink stat touch mkdir ln nproc " +
	"ip tr date tty stty test chmod chown mknod uname wc sed awk ps sysctl find cp mv rm yes seq printf tail sort")

// ID is a container name that no other test uses.
func ID(t testing.TB) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, t.Name())
	return fmt.Sprintf("%.60s-%d", name, os.Getpid())
}

// Spec is a configuration with a container's defaults, in a cgroup of the tests, that runs a command.
func Spec(t testing.TB, command ...string) *specs.Spec {
	s := oci.ExampleSpec()
	s.Process.Terminal = false
	s.Process.Args = command
	s.Linux.CgroupsPath = "/nau-oci-test/" + ID(t)
	return s
}

// Bundle writes a bundle and returns its folder. Its root is its own, not shared with other bundles.
func Bundle(t testing.TB, s *specs.Spec) string {
	t.Helper()
	dir := t.TempDir()
	root := filepath.Join(dir, "rootfs")
	for _, d := range []string{"bin", "etc", "proc", "sys", "dev", "tmp", "root"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "bin/busybox"), b, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, a := range applets {
		if err := os.Symlink("busybox", filepath.Join(root, "bin", a)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "etc/passwd"), []byte("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	Write(t, dir, s)
	return dir
}

// Write writes the bundle's configuration.
func Write(t testing.TB, bundle string, s *specs.Spec) {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), b, 0o644); err != nil {
		t.Fatal(err)
	}
}
