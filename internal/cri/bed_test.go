package cri

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nau/internal/engine"
	"nau/internal/engine/testbed"
	"nau/internal/engine/testbed/busybox"
)

func TestMain(m *testing.M) { testbed.Main(m) }

// bed is an engine with this front over it, in namespaces of the test's own.
type bed struct {
	t   testing.TB
	cfg engine.Config
	e   *engine.Engine
	s   *Server
	r   runtimeapi.RuntimeServiceClient
	i   runtimeapi.ImageServiceClient
	ref string
	n   int
}

func newBed(t testing.TB, change ...func(*engine.Config)) *bed {
	t.Helper()
	testbed.Need(t)
	dir, err := os.MkdirTemp("", "nau")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	b := &bed{t: t, ref: busybox.Registry(t), cfg: engine.Config{
		DataDir: filepath.Join(dir, "data"), RunDir: filepath.Join(dir, "run"), NauOCI: busybox.NauOCI(t),
		Instance: "nautest", CgroupParent: "/nautest" + filepath.Base(dir), Log: log,
		PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16"), netip.MustParsePrefix("fd42::/64")},
	}}
	for _, f := range change {
		f(&b.cfg)
	}
	b.open()
	t.Cleanup(func() {
		b.s.Close()
		if err := b.e.Purge(context.Background()); err != nil {
			t.Errorf("purge: %v", err)
		}
	})
	if _, err := b.i.PullImage(b.ctx(), &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: b.ref}}); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bed) open() {
	b.t.Helper()
	e, err := engine.Open(b.ctx(), b.cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	b.e, b.s = e, New(e, Config{Log: b.cfg.Log})
	b.r, b.i = b.s.InProcess()
}

func (b *bed) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	b.t.Cleanup(cancel)
	return ctx
}

func (b *bed) sandboxConfig(name string) *runtimeapi.PodSandboxConfig {
	return &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: name, Namespace: "ns", Uid: "uid-" + name}, Hostname: name, LogDirectory: filepath.Join(b.cfg.DataDir, "log", name),
		Labels: map[string]string{"app": name},
		Linux:  &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{NamespaceOptions: &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER}}},
	}
}

func (b *bed) pod(c *runtimeapi.PodSandboxConfig) string {
	b.t.Helper()
	r, err := b.r.RunPodSandbox(b.ctx(), &runtimeapi.RunPodSandboxRequest{Config: c})
	if err != nil {
		b.t.Fatal(err)
	}
	return r.PodSandboxId
}

// container creates and starts a shell script in a pod.
func (b *bed) container(pod string, pc *runtimeapi.PodSandboxConfig, script string, change ...func(*runtimeapi.ContainerConfig)) string {
	b.t.Helper()
	id, err := b.try(pod, pc, script, change...)
	if err != nil {
		b.t.Fatal(err)
	}
	return id
}

func (b *bed) try(pod string, pc *runtimeapi.PodSandboxConfig, script string, change ...func(*runtimeapi.ContainerConfig)) (string, error) {
	b.n++
	c := &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: fmt.Sprintf("c%d", b.n)}, Image: &runtimeapi.ImageSpec{Image: b.ref}, Command: []string{"sh", "-c", script},
		LogPath: fmt.Sprintf("c%d/0.log", b.n),
		Linux: &runtimeapi.LinuxContainerConfig{SecurityContext: &runtimeapi.LinuxContainerSecurityContext{NamespaceOptions: &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER},
			Seccomp: &runtimeapi.SecurityProfile{}}},
	}
	for _, f := range change {
		f(c)
	}
	r, err := b.r.CreateContainer(b.ctx(), &runtimeapi.CreateContainerRequest{PodSandboxId: pod, Config: c, SandboxConfig: pc})
	if err != nil {
		return "", err
	}
	_, err = b.r.StartContainer(b.ctx(), &runtimeapi.StartContainerRequest{ContainerId: r.ContainerId})
	return r.ContainerId, err
}

func (b *bed) status(id string) *runtimeapi.ContainerStatus {
	b.t.Helper()
	r, err := b.r.ContainerStatus(b.ctx(), &runtimeapi.ContainerStatusRequest{ContainerId: id})
	if err != nil {
		b.t.Fatal(err)
	}
	return r.Status
}

// wait returns a container's status when it has exited.
func (b *bed) wait(id string) *runtimeapi.ContainerStatus {
	b.t.Helper()
	if _, err := b.e.Containers.Wait(b.ctx(), id); err != nil {
		b.t.Fatal(err)
	}
	return b.status(id)
}

// until looks at ok after each of the engine's events, until it holds.
func (b *bed) until(what string, ok func() bool) {
	b.t.Helper()
	sub := b.e.Events.Subscribe()
	defer sub.Close()
	for ctx := b.ctx(); !ok(); {
		if _, err := sub.Next(ctx); err != nil {
			b.t.Fatalf("%s: %v", what, err)
		}
	}
}

// output runs a script in a container of its own and returns what it wrote to its log.
func (b *bed) output(pod string, pc *runtimeapi.PodSandboxConfig, script string, change ...func(*runtimeapi.ContainerConfig)) string {
	b.t.Helper()
	id := b.container(pod, pc, script, change...)
	st := b.wait(id)
	out := b.logOf(st.LogPath)
	if st.ExitCode != 0 {
		b.t.Errorf("%q exited with %d: %s", script, st.ExitCode, out)
	}
	return out
}

func (b *bed) logOf(path string) string {
	b.t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		b.t.Fatal(err)
	}
	var out strings.Builder
	for line := range strings.Lines(string(raw)) {
		f := strings.SplitN(line, " ", 4)
		if len(f) == 4 {
			out.WriteString(f[3])
		}
	}
	return out.String()
}

func (b *bed) exec(id string, cmd ...string) (string, int32) {
	b.t.Helper()
	r, err := b.r.ExecSync(b.ctx(), &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: cmd, Timeout: 20})
	if err != nil {
		b.t.Fatal(err)
	}
	return string(r.Stdout) + string(r.Stderr), r.ExitCode
}

// spare tells what the layer store keeps of an unused snapshot for the next one, some at most.
func spare(cfg engine.Config, p string) bool {
	if ok, err := filepath.Match(filepath.Join(cfg.DataDir, "layers", "t*"), p); !ok || err != nil {
		return false
	}
	all, err := os.ReadDir(p)
	return err == nil && len(all) == 2 && all[0].Name() == "snapshot.json" && all[1].Name() == "w"
}

// traces lists what this test's instance has left on the machine: mounts, cgroups, links, processes.
func traces(t testing.TB, cfg engine.Config) []string {
	t.Helper()
	var out []string
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, cfg.RunDir) || strings.Contains(line, cfg.DataDir) {
			out = append(out, "mount "+strings.Fields(line)[4])
		}
	}
	roots, _ := filepath.Glob("/sys/fs/cgroup/*" + cfg.CgroupParent)
	for _, r := range append(roots, "/sys/fs/cgroup"+cfg.CgroupParent) {
		_ = filepath.WalkDir(r, func(p string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				out = append(out, "cgroup "+p)
			}
			return nil
		})
	}
	links, _ := os.ReadFile("/proc/self/net/dev")
	for line := range strings.Lines(string(links)) {
		if name, _, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && strings.HasPrefix(name, "nau") {
			out = append(out, "link "+name)
		}
	}
	routes, _ := os.ReadFile("/proc/self/net/route")
	for i, line := range strings.Split(strings.TrimSpace(string(routes)), "\n") {
		if i > 0 {
			out = append(out, "route "+line)
		}
	}
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range procs {
		if b, _ := os.ReadFile(p); strings.Contains(string(b), cfg.RunDir) {
			out = append(out, "process "+p+" "+strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	spares := 0
	for _, d := range []string{cfg.RunDir, cfg.DataDir} {
		_ = filepath.WalkDir(d, func(p string, e os.DirEntry, err error) error {
			if spare(cfg, p) {
				if spares++; spares <= 32 {
					return filepath.SkipDir
				}
			}
			if err == nil && p != d && !strings.HasPrefix(p, filepath.Join(cfg.DataDir, "log")) {
				out = append(out, "file "+p)
			}
			return nil
		})
	}
	sort.Strings(out)
	return out
}
