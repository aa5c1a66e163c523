package cri

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nau/internal/engine/container"
)

func TestPodLife(t *testing.T) {
	b := newBed(t)
	pc := b.sandboxConfig("life")
	pod := b.pod(pc)
	st, err := b.r.PodSandboxStatus(b.ctx(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: pod})
	if err != nil {
		t.Fatal(err)
	}
	if st.Status.State != runtimeapi.PodSandboxState_SANDBOX_READY || st.Status.Network.Ip == "" || len(st.Status.Network.AdditionalIps) != 1 {
		t.Fatalf("status %v", st.Status)
	}
	out := b.output(pod, pc, "hostname; id -u; cat /etc/resolv.conf | wc -l; ip -o addr show eth0; echo pid $$; echo err >&2")
	for _, want := range []string{"life\n0\n", st.Status.Network.Ip + "/32", "pid 1", "err"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %q", want, out)
		}
	}
	id := b.container(pod, pc, "trap 'exit 7' TERM; echo up; while :; do sleep 0.05; done")
	if s := b.status(id); s.State != runtimeapi.ContainerState_CONTAINER_RUNNING || s.StartedAt < s.CreatedAt {
		t.Errorf("status %v", s)
	}
	if out, code := b.exec(id, "sh", "-c", "echo out; echo err >&2; exit 3"); out != "out\nerr\n" || code != 3 {
		t.Errorf("exec: %q, %d", out, code)
	}
	_, err = b.r.ExecSync(b.ctx(), &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: []string{"sleep", "30"}, Timeout: 1})
	if status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("slow exec: %v", err)
	}
	if _, err := b.r.StopContainer(b.ctx(), &runtimeapi.StopContainerRequest{ContainerId: id, Timeout: 10}); err != nil {
		t.Fatal(err)
	}
	if s := b.status(id); s.State != runtimeapi.ContainerState_CONTAINER_EXITED || s.ExitCode != 7 || s.Reason != "Error" || s.FinishedAt < s.StartedAt {
		t.Errorf("status %v", s)
	}
	for range 2 { // twice: it is idempotent
		if _, err := b.r.StopPodSandbox(b.ctx(), &runtimeapi.StopPodSandboxRequest{PodSandboxId: pod}); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if _, err := b.r.RemovePodSandbox(b.ctx(), &runtimeapi.RemovePodSandboxRequest{PodSandboxId: pod}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.r.PodSandboxStatus(b.ctx(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: pod}); status.Code(err) != codes.NotFound {
		t.Errorf("removed sandbox: %v", err)
	}
	if _, err := b.r.ContainerStatus(b.ctx(), &runtimeapi.ContainerStatusRequest{ContainerId: id}); status.Code(err) != codes.NotFound {
		t.Errorf("removed container: %v", err)
	}
	b.s.Close()
	if err := b.e.Purge(b.ctx()); err != nil {
		t.Fatal(err)
	}
	if left := traces(t, b.cfg); len(left) > 0 {
		t.Errorf("purge left:\n%s", strings.Join(left, "\n"))
	}
	b.open()
}

func TestStartErrors(t *testing.T) {
	b := newBed(t)
	pc := b.sandboxConfig("errors")
	pod := b.pod(pc)
	id, err := b.try(pod, pc, "", func(c *runtimeapi.ContainerConfig) { c.Command = []string{"/no/such/program"} })
	if err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("missing program: %v", err)
	}
	if s := b.status(id); s.State != runtimeapi.ContainerState_CONTAINER_EXITED || s.ExitCode != 128 || s.Reason != "StartError" || s.Message == "" {
		t.Errorf("status %v", s)
	}
	_, err = b.try(pod, pc, "", func(c *runtimeapi.ContainerConfig) { c.Image.Image = "nothing:1" })
	if status.Code(err) != codes.NotFound {
		t.Errorf("missing image: %v", err)
	}
	_, err = b.try(pod, pc, "", func(c *runtimeapi.ContainerConfig) { c.Linux.SecurityContext.RunAsUsername = "nemo" })
	if err == nil {
		t.Error("an unknown user ran")
	}
	_, err = b.r.RunPodSandbox(b.ctx(), &runtimeapi.RunPodSandboxRequest{Config: b.sandboxConfig("x"), RuntimeHandler: "nothing"})
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("missing handler: %v", err)
	}
	_, err = b.r.RunPodSandbox(b.ctx(), &runtimeapi.RunPodSandboxRequest{Config: pc})
	if status.Code(err) != codes.AlreadyExists {
		t.Errorf("same sandbox twice: %v", err)
	}
}

func TestSecurityAndMounts(t *testing.T) {
	b := newBed(t)
	pc := b.sandboxConfig("sec")
	pc.Linux.Sysctls = map[string]string{"net.ipv4.ip_forward": "1", "kernel.shm_rmid_forced": "1"}
	pc.DnsConfig = &runtimeapi.DNSConfig{Servers: []string{"10.43.0.10"}, Searches: []string{"a.b"}, Options: []string{"ndots:5"}}
	pod := b.pod(pc)
	host := t.TempDir()
	if err := os.WriteFile(filepath.Join(host, "f"), []byte("from the host\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	sec := func(f func(*runtimeapi.LinuxContainerSecurityContext)) func(*runtimeapi.ContainerConfig) {
		return func(c *runtimeapi.ContainerConfig) { f(c.Linux.SecurityContext) }
	}
	for _, c := range []struct {
		name, script, want string
		change             func(*runtimeapi.ContainerConfig)
	}{
		{"dns", "cat /etc/resolv.conf", "search a.b\nnameserver 10.43.0.10\noptions ndots:5\n", nil},
		{"sysctls", "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shm_rmid_forced", "1\n1\n", nil},
		{"user", "id -u; id -g; id -G", "33\n44\n44 9 50\n", sec(func(s *runtimeapi.LinuxContainerSecurityContext) {
			s.RunAsUser, s.RunAsGroup, s.SupplementalGroups = &runtimeapi.Int64Value{Value: 33}, &runtimeapi.Int64Value{Value: 44}, []int64{9}
		})},
		{"user's name", "whoami; pwd", "web\n/home\n", func(c *runtimeapi.ContainerConfig) {
			c.Linux.SecurityContext.RunAsUsername, c.WorkingDir = "web", "/home"
		}},
		{"capabilities", "grep CapEff /proc/self/status", "CapEff:\t00000000a80425fb\n", nil},
		{"no capabilities", "grep CapEff /proc/self/status", "CapEff:\t0000000000000000\n", sec(func(s *runtimeapi.LinuxContainerSecurityContext) {
			s.Capabilities = &runtimeapi.Capability{DropCapabilities: []string{"ALL"}}
		})},
		{"seccomp", "grep Seccomp: /proc/self/status", "Seccomp:\t2\n", nil},
		{"unconfined", "grep Seccomp: /proc/self/status", "Seccomp:\t0\n", sec(func(s *runtimeapi.LinuxContainerSecurityContext) { s.Seccomp = nil })},
		{"no new privileges", "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1\n", sec(func(s *runtimeapi.LinuxContainerSecurityContext) { s.NoNewPrivs = true })},
		{"read-only root", "touch /x 2>/dev/null || echo refused", "refused\n", sec(func(s *runtimeapi.LinuxContainerSecurityContext) { s.ReadonlyRootfs = true })},
		{"masked", "cat /proc/version | wc -c; touch /proc/sys/kernel/panic 2>/dev/null || echo ro", "0\nro\n", sec(func(s *runtimeapi.LinuxContainerSecurityContext) {
			s.MaskedPaths, s.ReadonlyPaths = []string{"/proc/version"}, []string{"/proc/sys"}
		})},
		{"mount", "cat /m/f; touch /m/new", "from the host\n", func(c *runtimeapi.ContainerConfig) {
			c.Mounts = []*runtimeapi.Mount{{HostPath: host, ContainerPath: "/m"}}
		}},
		{"read-only mount", "touch /m/new2 2>/dev/null || echo ro", "ro\n", func(c *runtimeapi.ContainerConfig) {
			c.Mounts = []*runtimeapi.Mount{{HostPath: host, ContainerPath: "/m", Readonly: true, RecursiveReadOnly: true}}
		}},
		{"image mount", "ls /i | grep busybox; touch /i/x 2>/dev/null || echo ro", "busybox\nro\n", func(c *runtimeapi.ContainerConfig) {
			c.Mounts = []*runtimeapi.Mount{{Image: &runtimeapi.ImageSpec{Image: b.ref}, ImageSubPath: "bin", ContainerPath: "/i"}}
		}},
		{"working directory is made", "pwd", "/not/there\n", func(c *runtimeapi.ContainerConfig) { c.WorkingDir = "/not/there" }},
		{"environment", "echo $A-$PATH-$HOSTNAME", "1=2-/bin-sec\n", func(c *runtimeapi.ContainerConfig) {
			c.Envs = []*runtimeapi.KeyValue{{Key: "A", Value: []byte("1=2")}}
		}},
		{"shared memory", "mount | grep -c ' /dev/shm '; test -c /dev/null && echo dev", "1\ndev\n", nil},
		{"tty", "test -t 0 && test -t 1 && echo tty", "tty\r\n", func(c *runtimeapi.ContainerConfig) { c.Tty, c.Stdin = true, true }},
		{"device", "test -c /dev/mine && echo there", "there\n", func(c *runtimeapi.ContainerConfig) {
			c.Devices = []*runtimeapi.Device{{HostPath: "/dev/null", ContainerPath: "/dev/mine", Permissions: "rw"}}
		}},
		{"privileged", "mount -t tmpfs x /tmp && echo mounted; grep Seccomp: /proc/self/status", "mounted\nSeccomp:\t0\n", sec(func(s *runtimeapi.LinuxContainerSecurityContext) { s.Privileged = true })},
		{"own processes only", "set -- /proc/[0-9]*; echo $#", "1\n", nil},
		{"descriptors", "ls /proc/self/fd | wc -l", "4\n", nil}, // 0, 1, 2 and the listing's own
	} {
		t.Run(c.name, func(t *testing.T) {
			sub := *b
			sub.t = t
			defer func() { b.n = sub.n }()
			var changes []func(*runtimeapi.ContainerConfig)
			if c.change != nil {
				changes = append(changes, c.change)
			}
			if got := sub.output(pod, pc, c.script, changes...); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestSharedAndHostNamespaces(t *testing.T) {
	b := newBed(t)
	ns := func(o *runtimeapi.NamespaceOption) func(*runtimeapi.ContainerConfig) {
		return func(c *runtimeapi.ContainerConfig) { c.Linux.SecurityContext.NamespaceOptions = o }
	}
	shared := &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_POD}
	pc := b.sandboxConfig("shared")
	pc.Linux.SecurityContext.NamespaceOptions = shared
	pod := b.pod(pc)
	b.container(pod, pc, "exec sleep 1000", ns(shared))
	if out := b.output(pod, pc, "ps | grep -c 'sleep 1000'; test $$ != 1 && echo other", ns(shared)); !strings.HasSuffix(out, "other\n") || strings.HasPrefix(out, "0") {
		t.Errorf("shared PID namespace: %q", out)
	}
	sleeper := b.container(pod, pc, "exec sleep 3000", ns(shared))
	if err := killHold(t, b, pod); err != nil {
		t.Fatal(err)
	}
	if st := b.wait(sleeper); st.ExitCode != 137 {
		t.Errorf("after the end of its PID namespace: %v", st)
	}
	b.until("sandbox is not ready", func() bool {
		st, err := b.r.PodSandboxStatus(b.ctx(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: pod})
		if err != nil {
			t.Fatal(err)
		}
		return st.Status.State == runtimeapi.PodSandboxState_SANDBOX_NOTREADY
	})
	pc.Metadata.Attempt++
	pod = b.pod(pc)
	host := &runtimeapi.NamespaceOption{Network: runtimeapi.NamespaceMode_NODE, Pid: runtimeapi.NamespaceMode_NODE, Ipc: runtimeapi.NamespaceMode_NODE}
	hc := b.sandboxConfig("host")
	hc.Hostname = ""
	hc.Linux.SecurityContext.NamespaceOptions = host
	hp := b.pod(hc)
	if out := b.output(hp, hc, "readlink /proc/self/ns/net; readlink /proc/self/ns/ipc; readlink /proc/self/ns/pid", ns(host)); out != links(t, "net", "ipc", "pid") {
		t.Errorf("host namespaces: %q", out)
	}
	target := b.container(pod, pc, "exec sleep 2000")
	if out := b.output(pod, pc, "ps | grep -c 'sleep 200[0]'", ns(&runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_TARGET, TargetId: target})); out != "1\n" {
		t.Errorf("PID namespace of a target: %q", out)
	}
}

func links(t *testing.T, kinds ...string) string {
	t.Helper()
	var out string
	for _, k := range kinds {
		l, err := os.Readlink("/proc/self/ns/" + k)
		if err != nil {
			t.Fatal(err)
		}
		out += l + "\n"
	}
	return out
}

func TestRestartKeepsContainers(t *testing.T) {
	b := newBed(t)
	pc := b.sandboxConfig("keep")
	pod := b.pod(pc)
	stays := b.container(pod, pc, "i=0; while :; do echo line $i; i=$((i+1)); sleep 0.02; done")
	ends := b.container(pod, pc, "mkfifo /end; cat /end; sleep 0.5; exit 5")
	ip := func() string {
		st, err := b.r.PodSandboxStatus(b.ctx(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: pod})
		if err != nil {
			t.Fatal(err)
		}
		return st.Status.Network.Ip
	}
	before, was := b.status(stays), ip()
	b.exec(ends, "sh", "-c", "while ! test -p /end; do :; done")
	r, err := b.e.Containers.Get(ends)
	if err != nil {
		t.Fatal(err)
	}
	b.s.Close()
	if err := b.e.Close(); err != nil {
		t.Fatal(err)
	}
	meanwhile(t, r.Pid)
	b.open()
	if st := b.status(stays); st.State != runtimeapi.ContainerState_CONTAINER_RUNNING || st.StartedAt != before.StartedAt {
		t.Errorf("after restart: %v", st)
	}
	if st := b.wait(ends); st.ExitCode != 5 || st.State != runtimeapi.ContainerState_CONTAINER_EXITED {
		t.Errorf("ended meanwhile: %v", st)
	}
	if ip() != was {
		t.Errorf("address changed from %s to %s", was, ip())
	}
	if out, code := b.exec(stays, "echo", "hi"); out != "hi\n" || code != 0 {
		t.Errorf("exec: %q, %d", out, code)
	}
	if _, err := b.r.StopContainer(b.ctx(), &runtimeapi.StopContainerRequest{ContainerId: stays}); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(b.logOf(b.status(stays).LogPath)), "\n")
	for i, l := range lines {
		if want := fmt.Sprint("line ", i); l != want {
			t.Fatalf("log line %d is %q: lines are lost", i, l)
		}
	}
	if len(lines) < 10 {
		t.Errorf("only %d lines", len(lines))
	}
}

func TestMonitorIsRevived(t *testing.T) {
	b := newBed(t)
	pc := b.sandboxConfig("revive")
	pod := b.pod(pc)
	id := b.container(pod, pc, "trap 'exit 6' TERM; while :; do sleep 0.02; done")
	killMonitor(t, b.cfg.RunDir)
	if out, code := b.exec(id, "echo", "hi"); out != "hi\n" || code != 0 {
		t.Errorf("exec after the monitor's end: %q, %d", out, code)
	}
	if st := b.status(id); st.State != runtimeapi.ContainerState_CONTAINER_RUNNING {
		t.Errorf("after the monitor's end: %v", st)
	}
	if _, err := b.r.StopContainer(b.ctx(), &runtimeapi.StopContainerRequest{ContainerId: id, Timeout: 10}); err != nil {
		t.Fatal(err)
	}
	if st := b.status(id); st.State != runtimeapi.ContainerState_CONTAINER_EXITED || st.ExitCode != 6 && st.ExitCode != 255 {
		t.Errorf("ended: %v", st)
	}
}

// killHold kills the process that holds a sandbox's PID namespace.
func killHold(t *testing.T, b *bed, pod string) error {
	t.Helper()
	procs, _ := filepath.Glob("/sys/fs/cgroup/*" + b.cfg.CgroupParent + "/sandbox/" + pod + "/pause-" + pod + "/cgroup.procs")
	for _, p := range procs {
		raw, _ := os.ReadFile(p)
		if pid, _ := strconv.Atoi(strings.TrimSpace(string(raw))); pid > 0 {
			return syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	return fmt.Errorf("no process holds the PID namespace of %s", pod)
}

// killMonitor kills the monitor, and sees it end, whose sockets are in a run directory.
func killMonitor(t *testing.T, run string) {
	t.Helper()
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range procs {
		if b, _ := os.ReadFile(p); strings.Contains(string(b), "monitor\x00--socket\x00"+run) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(p)))
			pidfd, err := unix.PidfdOpen(pid, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(pidfd)
			if err := unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0); err != nil {
				t.Fatal(err)
			}
			ended(t, pidfd)
			return
		}
	}
	t.Fatal("no monitor")
}

func TestNoQuickExitIsMissed(t *testing.T) {
	b := newBed(t)
	pc := b.sandboxConfig("quick")
	pod := b.pod(pc)
	for range 40 {
		id := b.container(pod, pc, "", func(c *runtimeapi.ContainerConfig) { c.Command = []string{"true"} })
		if st := b.wait(id); st.State != runtimeapi.ContainerState_CONTAINER_EXITED || st.ExitCode != 0 || st.FinishedAt < st.StartedAt {
			t.Fatalf("status %v", st)
		}
	}
}

func TestFullRef(t *testing.T) {
	id := "sha256:" + strings.Repeat("a", 64)
	for in, want := range map[string]string{
		"nginx": "docker.io/library/nginx:latest", "a/b:1": "docker.io/a/b:1", "127.0.0.1:5001/x@" + id: "127.0.0.1:5001/x@" + id, id: id, "": "", "UPPER": "UPPER",
	} {
		if got := fullRef(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestSignalsThereAndBack(t *testing.T) {
	for n, name := range runtimeapi.Signal_name {
		s := runtimeapi.Signal(n)
		if s == runtimeapi.Signal_RUNTIME_DEFAULT {
			continue
		}
		if _, err := container.ParseSignal(signalName(s)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := signalOf(signalName(s)); got != s {
			t.Errorf("%s came back as %s", name, got)
		}
	}
	if signalName(runtimeapi.Signal_RUNTIME_DEFAULT) != "" || signalOf("") != runtimeapi.Signal_RUNTIME_DEFAULT {
		t.Error("the default has a name")
	}
}

func TestEvents(t *testing.T) {
	b := newBed(t)
	ctx, cancel := context.WithCancel(b.ctx())
	defer cancel()
	stream, err := b.r.GetContainerEvents(ctx, &runtimeapi.GetEventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	pc := b.sandboxConfig("events")
	pod := b.pod(pc)
	id := b.container(pod, pc, "exit 4")
	b.wait(id)
	if _, err := b.r.RemovePodSandbox(b.ctx(), &runtimeapi.RemovePodSandboxRequest{PodSandboxId: pod}); err != nil {
		t.Fatal(err)
	}
	want := []struct {
		id   string
		kind runtimeapi.ContainerEventType
	}{
		{pod, runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT}, {id, runtimeapi.ContainerEventType_CONTAINER_CREATED_EVENT},
		{id, runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT}, {id, runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT},
		{pod, runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT}, {id, runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT},
		{pod, runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT},
	}
	for i, w := range want {
		ev, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if ev.ContainerId != w.id || ev.ContainerEventType != w.kind {
			t.Errorf("event %d: %s of %s, want %s of %s", i, ev.ContainerEventType, ev.ContainerId, w.kind, w.id)
		}
		if w.kind == runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT && w.id == id && (len(ev.ContainersStatuses) != 1 || ev.ContainersStatuses[0].ExitCode != 4) {
			t.Errorf("event %d brings %v", i, ev.ContainersStatuses)
		}
	}
}

func TestOverASocket(t *testing.T) {
	b := newBed(t)
	path := filepath.Join(b.cfg.RunDir, "cri.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = b.s.Serve(l) }()
	conn, err := grpc.NewClient("unix://"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r := runtimeapi.NewRuntimeServiceClient(conn)
	st, err := r.Status(b.ctx(), &runtimeapi.StatusRequest{Verbose: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range st.Status.Conditions {
		if !c.Status {
			t.Errorf("condition %v", c)
		}
	}
	if _, err := r.CheckpointContainer(b.ctx(), &runtimeapi.CheckpointContainerRequest{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("checkpoint: %v", err)
	}
	if _, err := r.StopContainer(b.ctx(), &runtimeapi.StopContainerRequest{ContainerId: "nothing"}); err != nil {
		t.Errorf("stop of nothing: %v", err)
	}
}

func TestLimitsAndStats(t *testing.T) {
	b := newBed(t)
	pc := b.sandboxConfig("limits")
	pod := b.pod(pc)
	id := b.container(pod, pc, "dd if=/dev/zero of=/file bs=1k count=100 2>/dev/null; touch /written; while :; do :; done", func(c *runtimeapi.ContainerConfig) {
		c.Linux.Resources = &runtimeapi.LinuxContainerResources{CpuShares: 512, CpuPeriod: 100000, CpuQuota: 20000, MemoryLimitInBytes: 64 << 20, OomScoreAdj: 500}
	})
	b.exec(id, "sh", "-c", "while ! test -e /written; do :; done")
	get := func() *runtimeapi.ContainerStats {
		r, err := b.r.ContainerStats(b.ctx(), &runtimeapi.ContainerStatsRequest{ContainerId: id})
		if err != nil {
			t.Fatal(err)
		}
		return r.Stats
	}
	if st := get(); st.Cpu.UsageCoreNanoSeconds.Value == 0 || st.Memory.WorkingSetBytes.Value == 0 || st.WritableLayer.UsedBytes.Value < 100<<10 {
		t.Errorf("stats %v", st)
	}
	b.exec(id, "timeout", "0.3", "sh", "-c", "while :; do :; done") // its share of the fifth counts as well
	if rate := get().Cpu.UsageNanoCores.GetValue(); rate < 50e6 || rate > 400e6 {
		t.Errorf("a fifth of a core is measured as %d nanocores", rate)
	}
	if out, _ := b.exec(id, "cat", "/proc/1/oom_score_adj"); out != "500\n" {
		t.Errorf("oom_score_adj %q", out)
	}
	if _, err := b.r.UpdateContainerResources(b.ctx(), &runtimeapi.UpdateContainerResourcesRequest{ContainerId: id, Linux: &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: 32 << 20}}); err != nil {
		t.Fatal(err)
	}
	if l := b.status(id).Resources.Linux; l.MemoryLimitInBytes != 32<<20 || l.CpuShares != 512 {
		t.Errorf("limits %v", l)
	}
	if r, err := b.r.PodSandboxStats(b.ctx(), &runtimeapi.PodSandboxStatsRequest{PodSandboxId: pod}); err != nil || r.Stats.Linux.Network.DefaultInterface.Name != "eth0" || len(r.Stats.Linux.Containers) != 1 {
		t.Errorf("sandbox stats %v, %v", r, err)
	}
	if r, err := b.r.ListPodSandboxMetrics(b.ctx(), &runtimeapi.ListPodSandboxMetricsRequest{}); err != nil || len(r.PodMetrics) != 1 || len(r.PodMetrics[0].ContainerMetrics[0].Metrics) < 4 {
		t.Errorf("metrics %v, %v", r, err)
	}
	oom := b.container(pod, pc, "exec awk 'BEGIN { s = \"x\"; while (1) s = s s }'", func(c *runtimeapi.ContainerConfig) {
		c.Linux.Resources = &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: 16 << 20}
	})
	if st := b.wait(oom); st.Reason != "OOMKilled" || st.ExitCode != 137 {
		t.Errorf("out of memory: %v", st)
	}
}
