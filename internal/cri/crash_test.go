package cri

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nau/internal/engine"
	"nau/internal/kernel"
)

const childMark = "NAU_TEST_CHILD"

// TestChild is no test: it is the program that TestKill kills. It opens an engine, runs pods and creates more until its end.
func TestChild(t *testing.T) {
	dir := os.Getenv(childMark)
	if dir == "" {
		t.Skip("run by TestKill only")
	}
	b := &bed{t: t, ref: os.Getenv("NAU_TEST_REF"), cfg: killConfig(dir, os.Getenv("NAU_OCI"))}
	b.open()
	if _, err := b.i.PullImage(b.ctx(), &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: b.ref}}); err != nil {
		t.Fatal(err)
	}
	pc := b.sandboxConfig("stays")
	pod := b.pod(pc)
	stays := b.container(pod, pc, "i=0; while :; do echo line $i; i=$((i+1)); sleep 0.01; done")
	// It ends when the killer opens the pipe, after this program has gone.
	ends := b.container(pod, pc, "mkfifo /end; cat /end; exit 9")
	r, err := b.e.Containers.Get(ends)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("READY", pod, stays, ends, r.Pid)
	for i := 0; ; i++ { // work for the killer to interrupt
		pc := b.sandboxConfig(fmt.Sprint("churn", i))
		pod := b.pod(pc)
		b.container(pod, pc, "sleep 100")
		fmt.Println("ROUND", i)
		if i%2 == 0 {
			_, _ = b.r.RemovePodSandbox(b.ctx(), &runtimeapi.RemovePodSandboxRequest{PodSandboxId: pod})
		}
	}
}

func killConfig(dir, nauOCI string) engine.Config {
	return engine.Config{DataDir: filepath.Join(dir, "data"), RunDir: filepath.Join(dir, "run"), NauOCI: nauOCI, Instance: "naukill", CgroupParent: "/naukill" + filepath.Base(dir)}
}

// TestKill kills the program in the midst of its work and opens the engine again; then kills everything, as a reboot does.
func TestKill(t *testing.T) {
	b := newBed(t) // for the registry and the executable
	dir, err := os.MkdirTemp("", "nau")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	child := exec.Command("/proc/self/exe", "-test.run", "^TestChild$")
	child.Env = append(os.Environ(), childMark+"="+dir, "NAU_TEST_REF="+b.ref, "NAU_OCI="+b.cfg.NauOCI)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	// One bridge name for both: the first engine must be gone.
	b.s.Close()
	if err := b.e.Purge(b.ctx()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.open() }) // newBed's own cleanup purges it
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var pod, stays, ends string
	var endsPid int
	sc := bufio.NewScanner(out)
	for sc.Scan() {
		_, _ = fmt.Sscanf(sc.Text(), "READY %s %s %s %d", &pod, &stays, &ends, &endsPid)
		if sc.Text() == "ROUND 3" { // it is in the midst of the next one
			break
		}
	}
	if stays == "" {
		t.Fatal("the child did not come up")
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	meanwhile(t, endsPid)

	k := &bed{t: t, ref: b.ref, cfg: killConfig(dir, b.cfg.NauOCI)}
	began := time.Now()
	k.open()
	t.Logf("opened after kill -9 in %v", time.Since(began))
	if st := k.status(stays); st.State != runtimeapi.ContainerState_CONTAINER_RUNNING {
		t.Errorf("after kill -9: %v", st)
	}
	if st := k.wait(ends); st.State != runtimeapi.ContainerState_CONTAINER_EXITED || st.ExitCode != 9 {
		t.Errorf("ended meanwhile: %v", st)
	}
	if out, code := k.exec(stays, "echo", "hi"); out != "hi\n" || code != 0 {
		t.Errorf("exec: %q, %d", out, code)
	}
	log := k.status(stays).LogPath
	pc := k.sandboxConfig("new")
	if out := k.output(k.pod(pc), pc, "echo works"); out != "works\n" {
		t.Errorf("a new pod says %q", out)
	}

	// A reboot: processes, mounts and the run directory are gone, the data directory stays.
	k.s.Close()
	if err := k.e.Close(); err != nil {
		t.Fatal(err)
	}
	killAll(t, k.cfg)
	for i, l := range strings.Split(strings.TrimSpace(k.logOf(log)), "\n") {
		if want := fmt.Sprint("line ", i); l != want {
			t.Fatalf("log line %d is %q: lines are lost", i, l)
		}
	}
	k.open()
	if st := k.status(stays); st.State != runtimeapi.ContainerState_CONTAINER_EXITED || st.ExitCode != 255 {
		t.Errorf("after reboot: %v", st)
	}
	if st, err := k.r.PodSandboxStatus(k.ctx(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: pod}); err != nil || st.Status.State != runtimeapi.PodSandboxState_SANDBOX_NOTREADY {
		t.Errorf("after reboot: %v, %v", st, err)
	}
	for _, left := range traces(t, k.cfg) {
		if strings.HasPrefix(left, "mount") {
			t.Errorf("after reboot: %s", left)
		}
	}
	again := k.sandboxConfig("stays")
	again.Metadata.Attempt, k.n = 1, 100
	if out := k.output(k.pod(again), again, "echo back"); out != "back\n" {
		t.Errorf("the pod's next sandbox says %q", out)
	}
	k.s.Close()
	if err := k.e.Purge(k.ctx()); err != nil {
		t.Errorf("purge: %v", err)
	}
	if left := traces(t, k.cfg); len(left) > 0 {
		t.Errorf("purge left:\n%s", strings.Join(left, "\n"))
	}
}

// meanwhile lets the container that waits for it end, while no engine is there to see it.
func meanwhile(t *testing.T, pid int) {
	t.Helper()
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	pipe, err := os.OpenFile(fmt.Sprintf("/proc/%d/root/end", pid), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	pipe.Close()
	ended(t, pidfd)
}

// ended waits for a process's end.
func ended(t *testing.T, pidfd int) {
	t.Helper()
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 20_000)
		if err == unix.EINTR {
			continue
		}
		if n != 1 {
			t.Fatalf("a process does not end: %v", err)
		}
		return
	}
}

// killAll ends the monitor and the processes in the instance's cgroups, and empties the run directory.
func killAll(t *testing.T, cfg engine.Config) {
	t.Helper()
	for {
		n := 0
		roots, _ := filepath.Glob("/sys/fs/cgroup/*" + cfg.CgroupParent)
		for _, r := range append(roots, "/sys/fs/cgroup"+cfg.CgroupParent) {
			_ = filepath.WalkDir(r, func(p string, d os.DirEntry, err error) error {
				if err == nil && d.Name() == "cgroup.procs" {
					b, _ := os.ReadFile(p)
					for _, f := range strings.Fields(string(b)) {
						pid, _ := strconv.Atoi(f)
						if pidfd, err := unix.PidfdOpen(pid, 0); err == nil && pid != os.Getpid() {
							_ = unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0)
							ended(t, pidfd)
							unix.Close(pidfd)
							n++
						}
					}
				}
				return nil
			})
		}
		if n == 0 {
			break
		}
	}
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if at := strings.Fields(line)[4]; strings.HasPrefix(at, cfg.RunDir) {
			if err := kernel.Unmount(at); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.RemoveAll(cfg.RunDir); err != nil {
		t.Fatal(err)
	}
}
