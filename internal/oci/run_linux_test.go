package oci_test

import (
	"errors"
	"io"
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

// result of a container that has ended.
type result struct {
	out  string
	code int
}

// many says whether the containers are made as by a program that makes many. All tests run both ways.
var many bool

func TestMain(m *testing.M) {
	code := m.Run()
	many = true
	os.Exit(max(code, m.Run()))
}

func runtimeFor(t testing.TB) *oci.Runtime {
	return &oci.Runtime{Many: many, Root: filepath.Join(t.TempDir(), "state"), Warn: func(s string) { t.Log("warning:", s) }}
}

// run makes a container, runs it to its end and removes it.
func run(t testing.TB, s *specs.Spec) result {
	t.Helper()
	return runBundle(t, ocitest.Bundle(t, s))
}

func runBundle(t testing.TB, bundle string) result {
	t.Helper()
	ocitest.Need(t)
	r := runtimeFor(t)
	out, outW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	c, err := r.Create(oci.CreateOptions{ID: ocitest.ID(t), Bundle: bundle, Stdio: [3]int{-1, int(outW.Fd()), int(outW.Fd())}})
	if err != nil {
		t.Fatal(err)
	}
	outW.Close()
	defer kernel.Close(c.Pidfd, c.Console)
	if err := c.Start(); err != nil {
		reap(c.Pid())
		t.Error(c.Delete(true))
		t.Fatal(err)
	}
	text, _ := io.ReadAll(out)
	code := reap(c.Pid())
	if err := c.Delete(false); err != nil {
		t.Error(err)
	}
	return result{string(text), code}
}

func reap(pid int) int {
	var ws unix.WaitStatus
	for {
		if _, err := unix.Wait4(pid, &ws, 0, nil); err != unix.EINTR {
			break
		}
	}
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}

// start makes and starts a container that is removed with the test.
func start(t testing.TB, s *specs.Spec) *oci.Container {
	t.Helper()
	ocitest.Need(t)
	c, err := runtimeFor(t).Create(oci.CreateOptions{ID: ocitest.ID(t), Bundle: ocitest.Bundle(t, s), Stdio: [3]int{-1, -1, -1}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.Kill(c.Pid(), unix.SIGKILL)
		reap(c.Pid())
		kernel.Close(c.Pidfd, c.Console)
		if err := c.Delete(true); err != nil {
			t.Error(err)
		}
	})
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	return c
}

// execute runs a command in a container and returns what it said.
func execute(t testing.TB, c *oci.Container, p *specs.Process) result {
	t.Helper()
	out, outW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	x, err := c.Exec(oci.ExecOptions{Process: p, Stdio: [3]int{-1, int(outW.Fd()), int(outW.Fd())}})
	outW.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer kernel.Close(x.Pidfd, x.Console)
	text, _ := io.ReadAll(out)
	return result{string(text), reap(x.Pid)}
}

func command(args ...string) *specs.Process {
	return &specs.Process{Args: args, Cwd: "/", Env: []string{"PATH=/bin"}}
}

func want(t *testing.T, r result, code int, lines ...string) {
	t.Helper()
	if r.code != code {
		t.Errorf("exit code %d, want %d", r.code, code)
	}
	for _, l := range lines {
		if !strings.Contains(r.out, l) {
			t.Errorf("output lacks %q", l)
		}
	}
	if t.Failed() {
		t.Logf("output:\n%s", r.out)
	}
}

func TestRunDefaults(t *testing.T) {
	s := ocitest.Spec(t, "sh", "-c", "hostname; id; pwd; echo $HOME; cat /proc/1/comm; cat /proc/self/cgroup | head -1; ls -la /dev/null; exit 4")
	want(t, run(t, s), 4, "nau\n", "uid=0", "/root\n", ":/\n", "crw-rw-rw-")
}

func TestProcShowsTheContainersProcessesOnly(t *testing.T) {
	s := ocitest.Spec(t, "sh", "-c", "echo /proc/[0-9]* ; cat /proc/1/cmdline | tr '\\0' ' '; sed 's/ .*//' /proc/self/stat")
	r := run(t, s)
	want(t, r, 0, "/proc/1")
	if strings.Contains(r.out, itoa(uint64(os.Getpid()))) {
		t.Errorf("the host's processes are in sight: %s", r.out)
	}
	if n := len(strings.Fields(strings.SplitN(r.out, "\n", 2)[0])); n > 3 {
		t.Errorf("%d processes are in sight: %s", n, r.out)
	}
}

func TestUserGroupsUmaskAndWorkingDirectory(t *testing.T) {
	s := ocitest.Spec(t, "sh", "-c", "id -u; id -G; umask; pwd; echo $HOME")
	umask := uint32(0o27)
	s.Process.User = specs.User{UID: 1000, GID: 1001, AdditionalGids: []uint32{7, 8}, Umask: &umask}
	s.Process.Cwd = "/tmp"
	want(t, run(t, s), 0, "1000\n1001 7 8\n0027\n/tmp\n/tmp\n")
}

// A volume hides the working directory that the image has; it is made in there, by root, before the process is somebody else.
func TestWorkingDirectoryIsMadeInAMount(t *testing.T) {
	dir := t.TempDir()
	s := ocitest.Spec(t, "sh", "-c", "pwd; stat -c '%u %a' .")
	s.Process.User = specs.User{UID: 1000, GID: 1000}
	s.Process.Cwd = "/tmp/a/b"
	s.Mounts = append(s.Mounts, specs.Mount{Destination: "/tmp", Source: dir, Type: "bind", Options: []string{"bind"}})
	want(t, run(t, s), 0, "/tmp/a/b\n0 755\n")
	if _, err := os.Stat(dir + "/a/b"); err != nil {
		t.Error(err)
	}
}

func TestCapabilitySets(t *testing.T) {
	s := ocitest.Spec(t, "grep", "Cap", "/proc/self/status")
	s.Process.User.UID = 1000
	kill := []string{"CAP_KILL"}
	s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: []string{"CAP_KILL", "CAP_CHOWN"}, Permitted: kill, Effective: kill, Inheritable: kill, Ambient: kill}
	want(t, run(t, s), 0, "CapInh:\t0000000000000020", "CapPrm:\t0000000000000020", "CapEff:\t0000000000000020", "CapBnd:\t0000000000000021", "CapAmb:\t0000000000000020")
}

func TestLimitsAreSetAndUnraisableOnesTolerated(t *testing.T) {
	s := ocitest.Spec(t, "sh", "-c", "ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj")
	s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 100, Hard: 200}, {Type: "RLIMIT_CORE", Soft: 1 << 40, Hard: 1 << 40}}
	adj := 500
	s.Process.OOMScoreAdj = &adj
	want(t, run(t, s), 0, "100\n200\n500\n")
}

func TestMounts(t *testing.T) {
	host := t.TempDir()
	if err := os.WriteFile(filepath.Join(host, "file"), []byte("from the host"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := ocitest.Spec(t, "sh", "-c", `cat /data/file; echo; echo x >/data/new && echo writable; echo x >/ro/new || echo refused
cat /one; echo; grep -E ' (/tmp|/ro|/data|/one) ' /proc/mounts; touch /x || echo root refused; df /tmp >/dev/null; stat -c %a /tmp`)
	s.Mounts = append(s.Mounts,
		specs.Mount{Destination: "/data", Type: "bind", Source: host, Options: []string{"rbind", "rw", "nosuid"}},
		specs.Mount{Destination: "/ro", Type: "none", Source: host, Options: []string{"bind", "ro", "noexec"}},
		specs.Mount{Destination: "/one", Source: filepath.Join(host, "file"), Options: []string{"bind"}},
		specs.Mount{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs", Options: []string{"size=1m", "mode=1777", "noexec", "noatime"}},
	)
	want(t, run(t, s), 0, "from the host\nwritable\n", "refused\nfrom the host\n", "/data ext4 rw,nosuid", "/ro ext4 ro,noexec", "tmpfs /tmp tmpfs rw,noexec,noatime,size=1024k", "root refused\n1777\n")
}

func TestRecursiveReadOnly(t *testing.T) {
	host := t.TempDir()
	inner := filepath.Join(host, "inner")
	if err := os.Mkdir(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	ocitest.Need(t)
	if err := kernel.MountTmpfs(inner, "t", 0, 0o755, 0); err != nil {
		t.Fatal(err)
	}
	defer kernel.Unmount(inner)
	s := ocitest.Spec(t, "sh", "-c", "touch /plain/inner/x && echo plain writes; touch /rec/inner/x || echo recursive refuses")
	s.Mounts = append(s.Mounts,
		specs.Mount{Destination: "/plain", Source: host, Options: []string{"rbind", "ro"}},
		specs.Mount{Destination: "/rec", Source: host, Options: []string{"rbind", "rro"}})
	want(t, run(t, s), 0, "plain writes\n", "recursive refuses\n")
}

func TestMaskedAndReadonlyPaths(t *testing.T) {
	s := ocitest.Spec(t, "sh", "-c", "cat /proc/timer_list | wc -c; cat /secret | wc -c; ls /hidden | wc -l; echo 1 >/proc/sys/kernel/panic || echo refused; touch /kept/x || echo kept")
	s.Root.Readonly = false
	s.Linux.MaskedPaths = append(s.Linux.MaskedPaths, "/secret", "/hidden", "/not/there")
	s.Linux.ReadonlyPaths = append(s.Linux.ReadonlyPaths, "/kept", "/not/there/either")
	b := ocitest.Bundle(t, s)
	for _, d := range []string{"hidden", "kept"} {
		os.MkdirAll(filepath.Join(b, "rootfs", d, "sub"), 0o755)
	}
	os.WriteFile(filepath.Join(b, "rootfs/secret"), []byte("secret"), 0o644)
	want(t, runBundle(t, b), 0, "0\n0\n0\n", "refused\n", "kept\n")
}

func TestSeccompFilter(t *testing.T) {
	for _, nnp := range []bool{true, false} {
		s := ocitest.Spec(t, "sh", "-c", "mkdir /tmp/x || echo refused; grep Seccomp: /proc/self/status; exit 6")
		s.Process.NoNewPrivileges = nnp
		s.Root.Readonly = false
		errno := uint(unix.ENOSPC)
		s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{
			{Names: []string{"mkdir", "mkdirat"}, Action: specs.ActErrno, ErrnoRet: &errno}}}
		want(t, run(t, s), 6, "No space left on device", "refused\n", "Seccomp:\t2\n")
	}
}

func TestNamespacesByPath(t *testing.T) {
	ocitest.Need(t)
	dir := t.TempDir()
	pins := map[kernel.Namespace]string{kernel.Net: dir + "/net", kernel.IPC: dir + "/ipc", kernel.UTS: dir + "/uts"}
	if err := kernel.Pin(pins, nil); err != nil {
		t.Fatal(err)
	}
	defer func() {
		for _, p := range pins {
			if err := kernel.Unpin(p); err != nil {
				t.Error(err)
			}
		}
	}()
	s := ocitest.Spec(t, "sh", "-c", "for n in net ipc uts; do readlink /proc/self/ns/$n; done; hostname")
	for i := range s.Linux.Namespaces {
		switch ns := &s.Linux.Namespaces[i]; ns.Type {
		case specs.NetworkNamespace:
			ns.Path = pins[kernel.Net]
		case specs.IPCNamespace:
			ns.Path = pins[kernel.IPC]
		case specs.UTSNamespace:
			ns.Path = pins[kernel.UTS]
		}
	}
	s.Hostname = "joined"
	r := run(t, s)
	want(t, r, 0, "joined\n")
	for _, p := range pins {
		var st unix.Stat_t
		if err := unix.Stat(p, &st); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(r.out, ":["+itoa(st.Ino)+"]") {
			t.Errorf("namespace %s (%d) was not joined", p, st.Ino)
		}
	}
}

func itoa(n uint64) string {
	if n == 0 {
		return "0"
	}
	var b []byte
	for ; n > 0; n /= 10 {
		b = append([]byte{byte('0' + n%10)}, b...)
	}
	return string(b)
}

func userns(s *specs.Spec) {
	s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	s.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
	s.Linux.GIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 65536}}
}

// own gives a bundle's root to a user namespace's root, and lets it be reached.
func own(t *testing.T, bundle string) {
	t.Helper()
	for d := bundle; d != "/" && d != "/tmp"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	err := filepath.WalkDir(filepath.Join(bundle, "rootfs"), func(p string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(p, 100000, 100000)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestUserNamespace(t *testing.T) {
	ocitest.Need(t)
	s := ocitest.Spec(t, "sh", "-c", "id -u; cat /proc/self/uid_map; touch /tmp/new && stat -c %u /tmp/new; stat -c '%u %g' /dev/pts /dev/shm; echo x >/dev/null && echo null; ls /sys >/dev/null && echo sys; hostname other && hostname")
	s.Process.Capabilities.Effective = append(s.Process.Capabilities.Effective, "CAP_SYS_ADMIN")
	s.Process.Capabilities.Permitted = append(s.Process.Capabilities.Permitted, "CAP_SYS_ADMIN")
	s.Process.Capabilities.Bounding = append(s.Process.Capabilities.Bounding, "CAP_SYS_ADMIN")
	s.Root.Readonly = false
	userns(s)
	b := ocitest.Bundle(t, s)
	own(t, b)
	want(t, runBundle(t, b), 0, "0\n", "100000      65536\n", "\n0\n0 0\n", "null\nsys\nother\n")
}

func TestExecJoinsEveryNamespace(t *testing.T) {
	for _, mapped := range []bool{false, true} {
		t.Run(map[bool]string{false: "plain", true: "userns"}[mapped], func(t *testing.T) {
			ocitest.Need(t)
			s := ocitest.Spec(t, "sleep", "100")
			b := ocitest.Bundle(t, s)
			if mapped {
				userns(s)
				ocitest.Write(t, b, s)
				own(t, b)
			}
			c, err := runtimeFor(t).Create(oci.CreateOptions{ID: ocitest.ID(t), Bundle: b, Stdio: [3]int{-1, -1, -1}})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				unix.Kill(c.Pid(), unix.SIGKILL)
				reap(c.Pid())
				if err := c.Delete(true); err != nil {
					t.Error(err)
				}
			}()
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			inside := execute(t, c, command("sh", "-c", "for n in mnt pid net ipc uts user cgroup; do readlink /proc/self/ns/$n; done"))
			first := ""
			for _, n := range []string{"mnt", "pid", "net", "ipc", "uts", "user", "cgroup"} {
				link, err := os.Readlink("/proc/" + itoa(uint64(c.Pid())) + "/ns/" + n)
				if err != nil {
					t.Fatal(err)
				}
				first += link + "\n"
			}
			if inside.out != first {
				t.Errorf("namespaces of exec\n%sand of the first process\n%s", inside.out, first)
			}
			uid := execute(t, c, &specs.Process{Args: []string{"id", "-u"}, Cwd: "/", User: specs.User{UID: 1000, GID: 1000}})
			want(t, uid, 0, "1000\n")
			cg := execute(t, c, command("cat", "/proc/self/cgroup"))
			if strings.Contains(cg.out, "..") || !strings.Contains(cg.out, ":/\n") {
				t.Errorf("exec is in another cgroup:\n%s", cg.out)
			}
		})
	}
}

func TestHooksRunInTheirOrderAndPlaces(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "hook")
	// The state comes on standard input; the hook notes its kind, the status it was told, and its network namespace.
	body := "#!/bin/sh\ns=$(cat)\ncase \"$s\" in *'\"status\":\"'*) s=${s#*'\"status\":\"'}; s=${s%%'\"'*};; esac\necho \"$1 $s $(readlink /proc/self/ns/uts)\" >>" + dir + "/log\n"
	if err := os.WriteFile(script, []byte(body), 0o755); err != nil {
		t.Fatal(err)
	}
	hook := func(name string) []specs.Hook {
		return []specs.Hook{{Path: script, Args: []string{"hook", name}, Env: []string{"PATH=/bin:/usr/bin"}}}
	}
	s := ocitest.Spec(t, "sh", "-c", "readlink /proc/self/ns/uts; cat /hooked")
	s.Root.Readonly = false
	s.Hooks = &specs.Hooks{CreateRuntime: hook("createRuntime"), CreateContainer: hook("createContainer"), Poststart: hook("poststart"), Poststop: hook("poststop"),
		StartContainer: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "echo inside >/hooked"}}}}
	r := run(t, s)
	want(t, r, 0, "inside\n")
	b, err := os.ReadFile(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	own, _ := os.Readlink("/proc/self/ns/uts")
	container := strings.SplitN(r.out, "\n", 2)[0]
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	wants := []string{"createRuntime creating " + own, "createContainer creating " + container, "poststart", "poststop stopped " + own}
	if len(lines) != len(wants) {
		t.Fatalf("hooks: %q", lines)
	}
	for i := range wants {
		if !strings.HasPrefix(lines[i], wants[i]) {
			t.Errorf("hook %d: %q, want %q", i, lines[i], wants[i])
		}
	}
}

// Hooks after the start and after the end: one that fails keeps the next from nothing, and fails nothing.
func TestFailingLateHookKeepsTheOthers(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	late := func(kind string) []specs.Hook {
		return []specs.Hook{{Path: "/bin/false"}, {Path: "/bin/sh", Args: []string{"sh", "-c", "echo " + kind + " >>" + log}}}
	}
	s := ocitest.Spec(t, "true")
	s.Hooks = &specs.Hooks{Poststart: late("poststart"), Poststop: late("poststop")}
	want(t, run(t, s), 0, "")
	if b, err := os.ReadFile(log); err != nil || string(b) != "poststart\npoststop\n" {
		t.Errorf("the hooks after a failed one left %q, %v", b, err)
	}
}

func TestFailingHookUndoesCreate(t *testing.T) {
	ocitest.Need(t)
	s := ocitest.Spec(t, "true")
	s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "echo because >&2; exit 1"}}}}
	r := runtimeFor(t)
	_, err := r.Create(oci.CreateOptions{ID: ocitest.ID(t), Bundle: ocitest.Bundle(t, s), Stdio: [3]int{-1, -1, -1}})
	if err == nil || !strings.Contains(err.Error(), "because") {
		t.Fatalf("error %v", err)
	}
	if _, err := r.Load(ocitest.ID(t)); !errors.Is(err, oci.ErrNotFound) {
		t.Errorf("what is left: %v", err)
	}
	if _, err := os.Stat("/sys/fs/cgroup/memory" + s.Linux.CgroupsPath); err == nil {
		t.Error("the cgroup is left")
	}
}

func TestMissingProgramIsToldByCreate(t *testing.T) {
	ocitest.Need(t)
	r := runtimeFor(t)
	_, err := r.Create(oci.CreateOptions{ID: ocitest.ID(t), Bundle: ocitest.Bundle(t, ocitest.Spec(t, "no-such-program")), Stdio: [3]int{-1, -1, -1}})
	if err == nil || !strings.Contains(err.Error(), `exec: "no-such-program": executable file not found in $PATH`) {
		t.Fatalf("error %v", err)
	}
}

func TestSysctlsAndTimeOffsets(t *testing.T) {
	s := ocitest.Spec(t, "sh", "-c", "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/msgmax; cat /proc/self/timens_offsets")
	s.Linux.Sysctl = map[string]string{"net.ipv4.ip_unprivileged_port_start": "99", "kernel.msgmax": "12345"}
	s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
	s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 86400}}
	want(t, run(t, s), 0, "99\n12345\n", "boottime        86400")
}

func TestResourcesReachTheCgroup(t *testing.T) {
	s := ocitest.Spec(t, "sleep", "100")
	limit, pids, shares, quota, period := int64(64<<20), int64(50), uint64(512), int64(20000), uint64(100000)
	s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &limit}
	s.Linux.Resources.Pids = &specs.LinuxPids{Limit: &pids}
	s.Linux.Resources.CPU = &specs.LinuxCPU{Shares: &shares, Quota: &quota, Period: &period, Cpus: "0"}
	c := start(t, s)
	stats, err := c.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if stats.Memory.Limit != uint64(limit) || stats.Pids.Limit != uint64(pids) || stats.Pids.Current != 1 || stats.Memory.Usage == 0 {
		t.Errorf("stats %+v", stats)
	}
	want(t, execute(t, c, command("nproc")), 0, "1\n")
	limit = 32 << 20
	if err := c.Update(&specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}}); err != nil {
		t.Fatal(err)
	}
	if stats, _ := c.Stats(); stats.Memory.Limit != uint64(limit) {
		t.Errorf("limit after update: %d", stats.Memory.Limit)
	}
	pidsBelow, err := c.Processes()
	if err != nil || len(pidsBelow) != 1 || pidsBelow[0] != c.Pid() {
		t.Errorf("processes %v, %v", pidsBelow, err)
	}
}

// The process takes itself into its cgroup: into all of them, and before its program runs. So does one that is executed later.
func TestProcessesAreInTheCgroupOfEveryHierarchy(t *testing.T) {
	layout, err := kernel.Cgroups()
	if err != nil {
		t.Fatal(err)
	}
	s := ocitest.Spec(t, "sleep", "100")
	c := start(t, s)
	x, err := c.Exec(oci.ExecOptions{Process: command("sleep", "100"), Stdio: [3]int{-1, -1, -1}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		unix.Kill(x.Pid, unix.SIGKILL)
		reap(x.Pid)
		kernel.Close(x.Pidfd, x.Console)
	}()
	for _, h := range layout.Hierarchies {
		text, err := os.ReadFile(filepath.Join(h.Dir(s.Linux.CgroupsPath), "cgroup.procs"))
		if err != nil {
			t.Error(err)
			continue
		}
		pids := strings.Fields(string(text))
		for _, pid := range []int{c.Pid(), x.Pid} {
			if !slices.Contains(pids, itoa(uint64(pid))) {
				t.Errorf("process %d is not in %s, which has %v", pid, h.Dir(s.Linux.CgroupsPath), pids)
			}
		}
	}
}

func TestDeviceRules(t *testing.T) {
	s := ocitest.Spec(t, "sh", "-c", "head -c 3 /dev/zero | wc -c; mknod /tmp/kmsg c 1 11; head -c 1 /tmp/kmsg || echo refused; head -c 1 /dev/own >/dev/null || echo own refused")
	s.Root.Readonly = false
	s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/own", Type: "c", Major: 1, Minor: 5}}
	r := run(t, s)
	want(t, r, 0, "3\n", "refused\n")
	if strings.Contains(r.out, "own refused") {
		t.Error("the device of the configuration cannot be used")
	}
}

func TestTooManyIsRefusedClearly(t *testing.T) {
	ocitest.Need(t)
	s := ocitest.Spec(t, "true")
	s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"mount"}, Action: specs.ActNotify}}}
	_, err := runtimeFor(t).Create(oci.CreateOptions{ID: ocitest.ID(t), Bundle: ocitest.Bundle(t, s), Stdio: [3]int{-1, -1, -1}})
	if !errors.Is(err, oci.ErrUnsupported) {
		t.Fatalf("error %v", err)
	}
}

func TestRootPropagationReachesTheContainerOnly(t *testing.T) {
	for propagation, optional := range map[string]string{"rshared": "shared:", "rslave": "", "rprivate": "", "shared": "shared:"} {
		s := ocitest.Spec(t, "sh", "-c", "grep ' / / \\| /rootfs / ' /proc/self/mountinfo | head -1; cat /proc/self/mountinfo | head -1")
		s.Linux.RootfsPropagation = propagation
		r := run(t, s)
		want(t, r, 0)
		if strings.Contains(strings.SplitN(r.out, "\n", 2)[0], "shared:") != (optional != "") {
			t.Errorf("%s: %s", propagation, r.out)
		}
	}
}

// A container may be made without a process; only start needs one.
func TestCreateWithoutProcess(t *testing.T) {
	ocitest.Need(t)
	s := ocitest.Spec(t, "true")
	s.Process = nil
	c, err := runtimeFor(t).Create(oci.CreateOptions{ID: ocitest.ID(t), Bundle: ocitest.Bundle(t, s), Stdio: [3]int{-1, -1, -1}})
	if err != nil {
		t.Fatal(err)
	}
	kernel.Close(c.Pidfd)
	t.Cleanup(func() {
		unix.Kill(c.Pid(), unix.SIGKILL)
		reap(c.Pid())
		if err := c.Delete(true); err != nil {
			t.Error(err)
		}
	})
	if x := execute(t, c, &specs.Process{Args: []string{"echo", "here"}, Cwd: "/"}); x.out != "here\n" {
		t.Errorf("what is executed in it: %+v", x)
	}
	if err := c.Start(); !errors.Is(err, oci.ErrInvalid) {
		t.Errorf("start: %v", err)
	}
}

// The policy of memory is the process's own, and a process that is executed runs on the processors that it is given.
func TestMemoryPolicyAndAffinity(t *testing.T) {
	s := ocitest.Spec(t, "sleep", "1000")
	s.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: specs.MpolBind, Nodes: "0", Flags: []specs.MemoryPolicyFlagType{specs.MpolFStaticNodes}}
	c := start(t, s)
	if maps, err := os.ReadFile("/proc/" + strconv.Itoa(c.Pid()) + "/numa_maps"); err != nil || !strings.Contains(string(maps), " bind=static:0 ") {
		if _, missing := os.Stat("/proc/self/numa_maps"); missing == nil {
			t.Errorf("the policy is not there: %v\n%.300s", err, maps)
		}
	}
	for _, a := range []*specs.CPUAffinity{{Final: "0"}, {Initial: "0"}, {Initial: "0-1", Final: "0"}} {
		x := execute(t, c, &specs.Process{Args: []string{"grep", "Cpus_allowed_list", "/proc/self/status"}, Cwd: "/", Env: s.Process.Env, ExecCPUAffinity: a})
		if x.out != "Cpus_allowed_list:\t0\n" {
			t.Errorf("%+v: %+v", *a, x)
		}
	}
	if _, err := c.Exec(oci.ExecOptions{Process: &specs.Process{Args: []string{"true"}, ExecCPUAffinity: &specs.CPUAffinity{Final: "0-"}}}); !errors.Is(err, oci.ErrInvalid) {
		t.Errorf("a malformed list: %v", err)
	}
}

// Mounts are listed in the order of the configuration, which kernels since 6.8 take from when each was made.
func TestMountOrder(t *testing.T) {
	s := ocitest.Spec(t, "sh", "-c", "grep -o ' /order/[a-z]* ' /proc/self/mountinfo")
	for _, name := range []string{"one", "two", "three", "four", "five"} {
		m := specs.Mount{Destination: "/order/" + name, Type: "tmpfs", Source: "tmpfs"}
		if name == "two" || name == "three" || name == "five" {
			m = specs.Mount{Destination: "/order/" + name, Source: t.TempDir(), Options: []string{"bind"}}
		}
		s.Mounts = append(s.Mounts, m)
	}
	s.Root.Readonly = false
	if r := run(t, s); r.out != " /order/one \n /order/two \n /order/three \n /order/four \n /order/five \n" {
		t.Errorf("the order is\n%s", r.out)
	}
}
