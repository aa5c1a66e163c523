package oci_test

import (
	"crypto/sha256"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"nau/internal/kernel"
	"nau/internal/oci"
	"nau/internal/oci/monitor"
	"nau/internal/oci/ocitest"
)

// executable builds nau-oci for a test, as `make build` does.
func executable(t *testing.T) string {
	t.Helper()
	ocitest.Need(t)
	path := filepath.Join(t.TempDir(), "nau-oci")
	args := []string{"build", "-o", path}
	if runtime.GOARCH == "amd64" {
		args = append(args, "-ldflags=-E _nau_oci_entry")
	}
	build := exec.Command("go", append(args, "nau/cmd/nau-oci")...)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build nau-oci: %v: %s", err, out)
	}
	return path
}

func digest(t *testing.T, path string) [32]byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(b)
}

// CVE-2019-5736: a process of a container executes /proc/self/exe on its way in, and so runs the runtime's own file; another
// opens that file through the exe link, keeps the descriptor, ends the process, and writes once nobody executes the file.
func TestSecurityExeLinkCannotOverwriteTheRuntime(t *testing.T) {
	binary := executable(t)
	before := digest(t, binary)
	// The attacker waits for the runtime to appear (it has no busybox for an executable), and reports how far it came.
	attack := `
own=$(stat -L -c %i /bin/busybox)
while :; do
  for p in /proc/[0-9]*; do
    i=$(stat -L -c %i $p/exe 2>/dev/null) || continue
    [ "$i" = "$own" ] && continue
    exec 9<$p/exe || continue
    echo OPENED
    kill -9 ${p#/proc/}
    n=0
    while [ $n -lt 50 ]; do
      ( echo '#!/bin/owned' >/proc/self/fd/9 ) 2>/dev/null && { echo WROTE; exit; }
      n=$((n+1)); sleep 0.02
    done
    echo REFUSED; exit
  done
  sleep 0.01
done`
	for _, way := range []string{"exec", "run"} {
		t.Run(way, func(t *testing.T) {
			s := ocitest.Spec(t, "sh", "-c", attack)
			bundle := ocitest.Bundle(t, s)
			root, id := t.TempDir(), ocitest.ID(t)
			call := func(args ...string) *exec.Cmd {
				return exec.Command(binary, append([]string{"--root", root}, args...)...)
			}
			var out strings.Builder
			create := call("create", "--bundle", bundle, id)
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			create.Stdout, create.Stderr = w, w
			if err := create.Run(); err != nil {
				t.Fatal(err)
			}
			w.Close()
			defer call("delete", "--force", id).Run()
			if err := call("start", id).Run(); err != nil {
				t.Fatal(err)
			}
			// The runtime's own monitor is a command that stays.
			stay := []string{"monitor", "--socket", "/dev/shm/s", "--state", "/dev/shm/m"}
			switch way {
			case "exec":
				_ = call(append([]string{"exec", id, "/proc/self/exe"}, stay...)...).Start()
			case "run":
				// A second container that shares the PID namespace of the first, so that the attacker sees it.
				state, err := oci.DecodeState(call("state", id).Output())
				if err != nil {
					t.Fatal(err)
				}
				s.Process.Args = append([]string{"/proc/self/exe"}, stay...)
				s.Linux.CgroupsPath += "-2"
				s.Linux.Namespaces[0].Path = "/proc/" + itoa(uint64(state.Pid)) + "/ns/pid"
				ocitest.Write(t, bundle, s)
				if err := call("create", "--bundle", bundle, id+"-2").Run(); err != nil {
					t.Fatalf("create: %v", err)
				}
				defer call("delete", "--force", id+"-2").Run()
				if out, err := call("start", id+"-2").CombinedOutput(); err != nil {
					t.Fatalf("start: %v: %s", err, out)
				}
			}
			_ = r.SetReadDeadline(time.Now().Add(20 * time.Second))
			buf := make([]byte, 4096)
			for !strings.Contains(out.String(), "REFUSED") && !strings.Contains(out.String(), "WROTE") {
				n, err := r.Read(buf)
				if err != nil {
					break
				}
				out.Write(buf[:n])
			}
			// Not to be seen or opened at all is as good as refused.
			if strings.Contains(out.String(), "WROTE") {
				t.Errorf("the container wrote through an exe link: %s", out.String())
			}
			t.Logf("attacker: %q", out.String())
			if digest(t, binary) != before {
				t.Fatal("the runtime's file was changed")
			}
		})
	}
}

// The sealed copy that the monitor runs from cannot be written even by root through the link.
func TestSecuritySealedCopyIsReadOnly(t *testing.T) {
	ocitest.Need(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "sealed")
	b, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	if err := monitor.Seal(path, b); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := monitor.Unseal(path); err != nil {
			t.Error(err)
		}
	}()
	if _, err := os.OpenFile(path, os.O_WRONLY, 0); !errors.Is(err, unix.EROFS) {
		t.Errorf("open for writing: %v", err)
	}
	p := exec.Command(path, "100")
	p.Args[0] = "sleep"
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	link := "/proc/" + itoa(uint64(p.Process.Pid)) + "/exe"
	held, err := os.Open(link)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	_ = p.Process.Kill()
	_ = p.Wait()
	if _, err := os.OpenFile("/proc/self/fd/"+itoa(uint64(held.Fd())), os.O_WRONLY, 0); !errors.Is(err, unix.EROFS) {
		t.Errorf("open for writing through a kept descriptor: %v", err)
	}
}

// CVE-2024-21626: neither the first process nor an exec holds a descriptor of the host's, or a working directory outside.
func TestSecurityNoDescriptorLeaks(t *testing.T) {
	ocitest.Need(t)
	// A descriptor of the host that is not closed on execution, as a careless caller leaves it.
	leak, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(leak)
	s := ocitest.Spec(t, "sleep", "100")
	c := start(t, s)
	check := func(what string, pid int) {
		t.Helper()
		entries, err := os.ReadDir("/proc/" + itoa(uint64(pid)) + "/fd")
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		if diff := cmp.Diff([]string{"0", "1", "2"}, names); diff != "" {
			t.Errorf("%s holds other descriptors (-want +got):\n%s", what, diff)
		}
	}
	check("the first process", c.Pid())
	x, err := c.Exec(oci.ExecOptions{Process: command("sleep", "100"), Stdio: [3]int{-1, -1, -1}})
	if err != nil {
		t.Fatal(err)
	}
	defer kernel.Close(x.Pidfd)
	check("an exec", x.Pid)
	unix.Kill(x.Pid, unix.SIGKILL)
	reap(x.Pid)
	// The working directory as the attack gives it: through a descriptor number that the runtime might hold.
	for fd := 3; fd < 40; fd++ {
		p := command("pwd")
		p.Cwd = "/proc/self/fd/" + itoa(uint64(fd))
		out := filepath.Join(t.TempDir(), "out")
		f, err := os.Create(out)
		if err != nil {
			t.Fatal(err)
		}
		x, err := c.Exec(oci.ExecOptions{Process: p, Stdio: [3]int{-1, int(f.Fd()), -1}})
		f.Close()
		if err == nil {
			reap(x.Pid)
			kernel.Close(x.Pidfd)
			b, _ := os.ReadFile(out)
			if !strings.HasPrefix(string(b), "/") || strings.Contains(string(b), "unreachable") {
				t.Fatalf("exec began in %q", b)
			}
		}
	}
}

func TestSecurityWorkingDirectoryOfRunIsInside(t *testing.T) {
	ocitest.Need(t)
	leak, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(leak)
	// Closed, or kept because somebody wants it: a descriptor of the host's leads out either way.
	for _, preserve := range []int{0, 37} {
		for fd := 3; fd < 40; fd++ {
			s := ocitest.Spec(t, "sleep", "100")
			s.Process.Cwd = "/proc/self/fd/" + itoa(uint64(fd))
			r := runtimeFor(t)
			c, err := r.Create(oci.CreateOptions{ID: ocitest.ID(t), Bundle: ocitest.Bundle(t, s), Stdio: [3]int{-1, -1, -1}, PreserveFDs: preserve})
			if err != nil {
				continue // refused, which is what should happen
			}
			cwd, _ := os.Readlink("/proc/" + itoa(uint64(c.Pid())) + "/cwd")
			root, _ := os.Stat("/proc/" + itoa(uint64(c.Pid())) + "/cwd/")
			host, _ := os.Stat("/")
			if os.SameFile(root, host) {
				t.Errorf("descriptor %d of %d that are kept: the working directory is the host's root (%s)", fd, preserve, cwd)
			}
			unix.Kill(c.Pid(), unix.SIGKILL)
			reap(c.Pid())
			kernel.Close(c.Pidfd)
			if err := c.Delete(true); err != nil {
				t.Error(err)
			}
		}
	}
}

// CVE-2021-30465, CVE-2025-31133, -52565, -52881: a neighbour that shares a volume swaps a folder there for a link to the
// host or to /proc while containers start that mount below it.
func TestSecuritySymlinkSwapDuringMounts(t *testing.T) {
	ocitest.Need(t)
	shared, canary := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(canary, "witness"), []byte("untouched"), 0o644); err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(shared, "target")
	stop := make(chan struct{})
	var racer sync.WaitGroup
	racer.Add(1)
	go func() {
		defer racer.Done()
		links := []string{"/", canary, "/proc", "../../../../../.." + canary, "/proc/self/cwd", "/proc/sys/kernel", "/dev"}
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			_ = os.RemoveAll(target)
			_ = os.Mkdir(target, 0o755)
			link := filepath.Join(shared, "link")
			_ = os.Remove(link)
			_ = os.Symlink(links[i%len(links)], link)
			// At once: a folder one moment, a link the next.
			_ = unix.Renameat2(unix.AT_FDCWD, link, unix.AT_FDCWD, target, unix.RENAME_EXCHANGE)
			_ = os.RemoveAll(link)
		}
	}()
	defer racer.Wait()
	defer close(stop)
	before := mountLines(t)
	for i := 0; i < 40; i++ {
		s := ocitest.Spec(t, "true")
		s.Mounts = append(s.Mounts,
			specs.Mount{Destination: "/volume", Source: shared, Options: []string{"rbind", "rw"}},
			specs.Mount{Destination: "/volume/target", Type: "tmpfs", Source: "tmpfs"},
			specs.Mount{Destination: "/volume/target/sub", Source: canary, Options: []string{"bind", "ro"}})
		s.Linux.MaskedPaths = append(s.Linux.MaskedPaths, "/volume/target/mask")
		s.Linux.ReadonlyPaths = append(s.Linux.ReadonlyPaths, "/volume/target")
		r := runtimeFor(t)
		c, err := r.Create(oci.CreateOptions{ID: ocitest.ID(t), Bundle: ocitest.Bundle(t, s), Stdio: [3]int{-1, -1, -1}})
		if err != nil {
			continue
		}
		// Nothing of the container's procfs may be covered by the volume's mounts.
		info, _ := os.ReadFile("/proc/" + itoa(uint64(c.Pid())) + "/mountinfo")
		for _, line := range strings.Split(string(info), "\n") {
			f := strings.Fields(line)
			if len(f) > 4 && (f[4] == "/proc" || strings.HasPrefix(f[4], "/proc/")) && !strings.Contains(line, " - proc proc ") &&
				!(strings.HasPrefix(f[5], "ro") && strings.Contains(line, " - tmpfs ")) && !strings.Contains(line, " - devtmpfs ") {
				t.Errorf("a mount landed in /proc: %s", line)
			}
		}
		unix.Kill(c.Pid(), unix.SIGKILL)
		reap(c.Pid())
		kernel.Close(c.Pidfd)
		if err := c.Delete(true); err != nil {
			t.Error(err)
		}
	}
	if b, err := os.ReadFile(filepath.Join(canary, "witness")); err != nil || string(b) != "untouched" {
		t.Errorf("the canary: %q, %v", b, err)
	}
	if entries, _ := os.ReadDir(canary); len(entries) != 1 {
		t.Errorf("something was made outside the container: %v", entries)
	}
	if diff := cmp.Diff(before, mountLines(t)); diff != "" {
		t.Errorf("mounts reached the host (-before +after):\n%s", diff)
	}
}

// mountLines are the host's mounts at or of this test's folders: others may come and go.
func mountLines(t *testing.T) (lines []string) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range strings.Split(string(b), "\n") {
		if strings.Contains(l, t.Name()) {
			lines = append(lines, l)
		}
	}
	return lines
}

// CVE-2025-31133 by the image: /dev/null of the root file system is not what paths are masked with.
func TestSecurityMaskDoesNotTrustTheImagesNull(t *testing.T) {
	s := ocitest.Spec(t, "sh", "-c", "cat /proc/timer_list | wc -c")
	bundle := ocitest.Bundle(t, s)
	if err := os.Symlink("/proc/sys/kernel/core_pattern", filepath.Join(bundle, "rootfs/dev/null")); err != nil {
		t.Fatal(err)
	}
	// Without a tmpfs of its own over /dev the runtime meets the link, and must not follow it.
	var mounts []specs.Mount
	for _, m := range s.Mounts {
		if !strings.HasPrefix(m.Destination, "/dev") {
			mounts = append(mounts, m)
		}
	}
	s.Mounts = mounts
	ocitest.Write(t, bundle, s)
	ocitest.Need(t)
	_, err := runtimeFor(t).Create(oci.CreateOptions{ID: ocitest.ID(t), Bundle: bundle, Stdio: [3]int{-1, -1, -1}})
	if err == nil || !strings.Contains(err.Error(), "make device /dev/null") {
		t.Errorf("create: %v", err)
	}
}

// A volume may not be mounted over or inside /proc, and an image may not make /proc a link to elsewhere.
func TestSecurityNothingOverProc(t *testing.T) {
	ocitest.Need(t)
	try := func(t *testing.T, change func(*specs.Spec, string)) error {
		s := ocitest.Spec(t, "true")
		bundle := ocitest.Bundle(t, s)
		change(s, bundle)
		ocitest.Write(t, bundle, s)
		r := runtimeFor(t)
		c, err := r.Create(oci.CreateOptions{ID: ocitest.ID(t), Bundle: bundle, Stdio: [3]int{-1, -1, -1}})
		if err == nil {
			unix.Kill(c.Pid(), unix.SIGKILL)
			reap(c.Pid())
			kernel.Close(c.Pidfd)
			_ = c.Delete(true)
		}
		return err
	}
	host := t.TempDir()
	for name, change := range map[string]func(*specs.Spec, string){
		"bind inside proc": func(s *specs.Spec, _ string) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/proc/sys", Source: host, Options: []string{"bind"}})
		},
		"tmpfs through a link": func(s *specs.Spec, b string) {
			_ = os.Symlink("/proc/self", filepath.Join(b, "rootfs/innocent"))
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/innocent/attr", Type: "tmpfs", Source: "tmpfs"})
		},
		"proc is a link": func(_ *specs.Spec, b string) {
			_ = os.Remove(filepath.Join(b, "rootfs/proc"))
			_ = os.Symlink("/tmp", filepath.Join(b, "rootfs/proc"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := try(t, change); err == nil {
				t.Error("it was made")
			}
		})
	}
}

// The default profile may only be changed on purpose.
func TestSecurityDefaultProfileIsDockers(t *testing.T) {
	s := oci.ExampleSpec()
	got := map[string][]string{"capabilities": s.Process.Capabilities.Bounding, "masked": s.Linux.MaskedPaths, "read-only": s.Linux.ReadonlyPaths}
	want := map[string][]string{
		"capabilities": {"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP",
			"CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE"},
		"masked": {"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
			"/proc/scsi", "/proc/interrupts", "/sys/firmware", "/sys/devices/virtual/powercap"},
		"read-only": {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("defaults changed (-want +got):\n%s", diff)
	}
	if !s.Process.NoNewPrivileges {
		t.Error("no_new_privs is not set")
	}
}

// What a container leaves on the host: nothing.
func TestNothingIsLeftBehind(t *testing.T) {
	ocitest.Need(t)
	settle := func() (fds int, mounts []string) {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries), mountLines(t)
	}
	run(t, ocitest.Spec(t, "true")) // opens what is kept for good
	fds, mounts := settle()
	for i := 0; i < 5; i++ {
		run(t, ocitest.Spec(t, "true"))
		c := start(t, func() *specs.Spec {
			s := ocitest.Spec(t, "sleep", "100")
			s.Linux.CgroupsPath += "-" + itoa(uint64(i))
			return s
		}())
		execute(t, c, command("true"))
		unix.Kill(c.Pid(), unix.SIGKILL)
		reap(c.Pid())
		kernel.Close(c.Pidfd)
		c.Pidfd = -1
		if err := c.Delete(false); err != nil {
			t.Error(err)
		}
	}
	after, mountsAfter := settle()
	if after != fds {
		t.Errorf("descriptors: %d before, %d after", fds, after)
	}
	if diff := cmp.Diff(mounts, mountsAfter); diff != "" {
		t.Errorf("mounts differ:\n%s", diff)
	}
	for _, dir := range []string{"/sys/fs/cgroup/memory/nau-oci-test", "/sys/fs/cgroup/unified/nau-oci-test", "/sys/fs/cgroup/nau-oci-test"} {
		entries, _ := filepath.Glob(dir + "/" + ocitest.ID(t) + "*")
		if len(entries) > 0 {
			t.Errorf("cgroups are left: %v", entries)
		}
	}
}
