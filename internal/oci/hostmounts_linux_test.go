package oci_test

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"nau/internal/kernel"
	"nau/internal/oci"
	"nau/internal/oci/ocitest"
)

// mountsBelow lists the mount points at and below a folder.
func mountsBelow(t *testing.T, dir string) (list []string) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if at := strings.Fields(line)[4]; strings.HasPrefix(at, dir) {
			list = append(list, strings.TrimPrefix(at, dir))
		}
	}
	return list
}

func withoutMountNamespace(t *testing.T, command ...string) *specs.Spec {
	s := ocitest.Spec(t, command...)
	s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(ns specs.LinuxNamespace) bool { return ns.Type == specs.MountNamespace })
	s.Root.Readonly = false
	return s
}

// A container in the runtime's mount namespace: it and what is executed in it see its own root, the host sees its mounts, and
// its end leaves none.
func TestHostMounts(t *testing.T) {
	ocitest.Need(t)
	s := withoutMountNamespace(t, "sleep", "1000")
	bundle := ocitest.Bundle(t, s)
	root := filepath.Join(bundle, "rootfs")
	r := runtimeFor(t)
	c, err := r.Create(oci.CreateOptions{ID: ocitest.ID(t), Bundle: bundle, Stdio: [3]int{-1, -1, -1}})
	if err != nil {
		t.Fatal(err)
	}
	defer kernel.Close(c.Pidfd)
	ended := false
	end := func() {
		if !ended {
			ended = true
			_ = c.Signal(unix.SIGKILL)
			reap(c.Pid())
		}
	}
	t.Cleanup(func() {
		end()
		_ = kernel.Unmount(root)
	})
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ours, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	if its, err := os.Readlink("/proc/" + strconv.Itoa(c.Pid()) + "/ns/mnt"); err != nil || its != ours {
		t.Errorf("its mount namespace is %s (%v), the runtime's %s", its, err, ours)
	}
	script := "test ! -e " + bundle + " && test -e /proc/1/stat && mkdir /mnt && mount -t tmpfs seen /mnt && pwd && echo kept > /tmp/made"
	x := execute(t, c, &specs.Process{Args: []string{"sh", "-c", script}, Cwd: "/etc", Env: s.Process.Env, Capabilities: &specs.LinuxCapabilities{
		Bounding: []string{"CAP_SYS_ADMIN"}, Effective: []string{"CAP_SYS_ADMIN"}, Permitted: []string{"CAP_SYS_ADMIN"}}})
	if x.code != 0 || x.out != "/etc\n" {
		t.Errorf("inside: %+v", x)
	}
	below := mountsBelow(t, root)
	for _, want := range []string{"", "/proc", "/dev", "/mnt"} {
		if !slices.Contains(below, want) {
			t.Errorf("the host does not see %q among %q", want, below)
		}
	}
	end()
	if err := c.Delete(false); err != nil {
		t.Fatal(err)
	}
	if left := mountsBelow(t, root); left != nil {
		t.Errorf("mounts are left: %q", left)
	}
	if b, err := os.ReadFile(filepath.Join(root, "tmp", "made")); err != nil || string(b) != "kept\n" {
		t.Errorf("what it wrote: %q, %v", b, err)
	}
}

// What a crash in the middle of a creation leaves on the host is taken away by name; what somebody else mounted there since is not.
func TestHostMountsAfterCrash(t *testing.T) {
	ocitest.Need(t)
	bundle := ocitest.Bundle(t, withoutMountNamespace(t, "true"))
	root := filepath.Join(bundle, "rootfs")
	t.Cleanup(func() { _ = kernel.Unmount(root) })
	r := runtimeFor(t)
	crash := func() *oci.Container {
		c, err := r.Create(oci.CreateOptions{ID: ocitest.ID(t), Bundle: bundle, Stdio: [3]int{-1, -1, -1}})
		if err != nil {
			t.Fatal(err)
		}
		kernel.Close(c.Pidfd)
		unix.Kill(c.Pid(), unix.SIGKILL)
		reap(c.Pid())
		if err := os.Remove(filepath.Join(r.Root, c.ID(), "state.json")); err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := crash()
	if len(mountsBelow(t, root)) == 0 {
		t.Fatal("nothing is mounted")
	}
	if err := r.Discard(c.ID()); err != nil {
		t.Fatal(err)
	}
	if left := mountsBelow(t, root); left != nil {
		t.Errorf("mounts are left: %q", left)
	}
	c = crash()
	if err := kernel.Unmount(root); err != nil {
		t.Fatal(err)
	}
	if err := kernel.MountTmpfs(root, "theirs", 1<<20, 0o755, 0); err != nil {
		t.Fatal(err)
	}
	if err := r.Discard(c.ID()); err != nil {
		t.Fatal(err)
	}
	if left := mountsBelow(t, root); len(left) != 1 {
		t.Errorf("somebody else's mount: %q", left)
	}
}

// The runtime's own root is not covered.
func TestHostMountsOverRoot(t *testing.T) {
	ocitest.Need(t)
	s := withoutMountNamespace(t, "true")
	s.Root.Path = "/"
	_, err := runtimeFor(t).Create(oci.CreateOptions{ID: ocitest.ID(t), Bundle: ocitest.Bundle(t, s), Stdio: [3]int{-1, -1, -1}})
	if err == nil || !strings.Contains(err.Error(), "this system's own") {
		t.Errorf("a root of /: %v", err)
	}
}

// Without pivot_root, too, the process and what is executed beside it are in the container's root, and nothing else is left of the host's tree.
func TestNoPivot(t *testing.T) {
	ocitest.Need(t)
	s := ocitest.Spec(t, "sleep", "1000")
	bundle := ocitest.Bundle(t, s)
	c, err := runtimeFor(t).Create(oci.CreateOptions{ID: ocitest.ID(t), Bundle: bundle, Stdio: [3]int{-1, -1, -1}, NoPivot: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.Kill(c.Pid(), unix.SIGKILL)
		reap(c.Pid())
		kernel.Close(c.Pidfd)
		if err := c.Delete(true); err != nil {
			t.Error(err)
		}
	})
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	inside := "/proc/" + strconv.Itoa(c.Pid()) + "/root"
	if _, err := os.Stat(inside + bundle); err == nil {
		t.Errorf("the process sees the host's %s", bundle)
	}
	if _, err := os.Stat(inside + "/bin/busybox"); err != nil {
		t.Error(err)
	}
	if x := execute(t, c, &specs.Process{Args: []string{"sh", "-c", "test ! -e " + bundle + " && ls /"}, Cwd: "/", Env: s.Process.Env}); x.code != 0 || !strings.Contains(x.out, "bin\n") {
		t.Errorf("what is executed: %+v", x)
	}
	text, err := os.ReadFile("/proc/" + strconv.Itoa(c.Pid()) + "/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); strings.HasPrefix(f[4], bundle) {
			t.Errorf("it sees a mount of the host's: %s", line)
		}
	}
}
