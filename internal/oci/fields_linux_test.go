package oci_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"nau/internal/kernel"
	"nau/internal/oci/ocitest"
)

// What the newer versions of the specification let a process be given is seen by it.
func TestProcessSettings(t *testing.T) {
	s := ocitest.Spec(t, "sh", "-c", "uname -m; cat /proc/sys/kernel/domainname; sleep 1000")
	s.Domainname = "example.test"
	s.Linux.Personality = &specs.LinuxPersonality{Domain: specs.PerLinux32}
	s.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedBatch, Nice: 7, Flags: []specs.LinuxSchedulerFlag{specs.SchedFlagResetOnFork}}
	s.Process.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE, Priority: 6}
	c := start(t, s)
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(c.Pid()) + "/stat")
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	const nice, policy = 19 - 3, 41 - 3 // proc_pid_stat(5), from the field after the name
	if f[nice] != "7" || f[policy] != strconv.Itoa(unix.SCHED_BATCH|unix.SCHED_RESET_ON_FORK) && f[policy] != strconv.Itoa(unix.SCHED_BATCH) {
		t.Errorf("nice %s, policy %s", f[nice], f[policy])
	}
	if got, _, e := unix.Syscall(unix.SYS_IOPRIO_GET, 1, uintptr(c.Pid()), 0); e != 0 || got != 2<<13|6 {
		t.Errorf("I/O priority %#x: %v", got, e)
	}
	s.Process.Args[2] = "uname -m; cat /proc/sys/kernel/domainname"
	s.Linux.CgroupsPath += "-2"
	if r := run(t, s); r.out != "i686\nexample.test\n" {
		t.Errorf("it says %q", r.out)
	}
}

// Owners are shown through a bind's own mapping: of one mount with idmap, of those below it too with ridmap.
func TestIDMappedMounts(t *testing.T) {
	ocitest.Need(t)
	source := t.TempDir()
	below := filepath.Join(source, "below")
	if err := os.Mkdir(below, 0o755); err != nil {
		t.Fatal(err)
	}
	tree, err := kernel.CloneTree(unix.AT_FDCWD, t.TempDir(), false)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	if err := tree.AttachPath(below); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = kernel.Unmount(below) })
	for option, want := range map[string]string{"idmap": "1000 0\n", "ridmap": "1000 1000\n"} {
		s := ocitest.Spec(t, "sh", "-c", `echo $(stat -c %u /m /m/below)`)
		mapping := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 1000, Size: 1}}
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/m", Source: source, Options: []string{"rbind", option}, UIDMappings: mapping, GIDMappings: mapping})
		s.Root.Readonly = false
		if r := run(t, s); r.out != want {
			t.Errorf("%s: %q, want %q", option, r.out, want)
		}
	}
}

func TestCopyUpKeepsModes(t *testing.T) {
	s := ocitest.Spec(t, "sh", "-c", "stat -c '%a %u' /tmp /tmp/dir /tmp/dir/file; cat /tmp/dir/file")
	s.Mounts = append(s.Mounts, specs.Mount{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs", Options: []string{"tmpcopyup", "mode=755"}})
	bundle := ocitest.Bundle(t, s)
	tmp := filepath.Join(bundle, "rootfs/tmp")
	if err := os.Mkdir(tmp+"/dir", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(tmp+"/dir/file", []byte("text\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := unix.Chmod(tmp, 0o1777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(tmp+"/dir/file", 7, 7); err != nil {
		t.Fatal(err)
	}
	if got, want := runBundle(t, bundle).out, "1777 0\n700 0\n640 7\ntext\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
