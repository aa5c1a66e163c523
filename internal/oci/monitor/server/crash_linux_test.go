package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"golang.org/x/sys/unix"

	"nau/internal/kernel"
	"nau/internal/oci"
	"nau/internal/oci/monitor"
	"nau/internal/oci/ocitest"
)

// monitors finds the processes that are a monitor on socket or were forked by one and have not been executed.
func monitors(t *testing.T, socket string) (pids []int) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		line, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if args := strings.Split(string(line), "\x00"); len(args) > 3 && args[1] == "monitor" && args[3] == socket {
			pid, _ := strconv.Atoi(e.Name())
			pids = append(pids, pid)
		}
	}
	return pids
}

// monitorPid is the monitor that listens on socket, where nothing is being made.
func monitorPid(t *testing.T, socket string) int {
	t.Helper()
	pids := monitors(t, socket)
	if len(pids) != 1 {
		t.Fatalf("monitors: %v", pids)
	}
	return pids[0]
}

// startMonitor builds nau-oci and starts a monitor in a folder of the test's.
func startMonitor(t *testing.T, dir string) (c *monitor.Client, socket string) {
	t.Helper()
	binary := filepath.Join(dir, "nau-oci")
	build := exec.Command("go", "build", "-o", binary, "nau/cmd/nau-oci")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build nau-oci: %v: %s", err, out)
	}
	socket = filepath.Join(dir, "s")
	c, err := monitor.Start(monitor.Options{Binary: binary, Socket: socket, StateDir: filepath.Join(dir, "m")})
	if err != nil {
		t.Fatal(err)
	}
	ctx := contextFor(t)
	t.Cleanup(func() { _ = c.Shutdown(ctx) })
	return c, socket
}

// waitLogged returns when a log has a text.
func waitLogged(t *testing.T, log, text string) {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, err := unix.InotifyAddWatch(fd, filepath.Dir(log), unix.IN_MODIFY); err != nil {
		t.Fatal(err)
	}
	for {
		if b, _ := os.ReadFile(log); strings.Contains(string(b), text) {
			return
		}
		if n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 30_000); n == 0 {
			t.Fatalf("%s is not logged", text)
		}
		_, _ = unix.Read(fd, make([]byte, 4096))
	}
}

// kill -9 of the monitor: containers go on, a call of the client brings a new monitor, which tells their exit codes where
// the kernel tells them.
func TestKilledMonitorIsRevivedAndAdopts(t *testing.T) {
	ocitest.Need(t)
	dir := shortDir(t)
	c, socket := startMonitor(t, dir)
	ctx := contextFor(t)
	id := ocitest.ID(t)
	log := filepath.Join(dir, "0.log")
	// It ends on a signal, long after its first monitor.
	gate := newGate(t, dir, "hello")
	s := ocitest.Spec(t, "sh", "-c", "trap 'echo bye; exit 6' TERM; echo hello; echo >/gate/hello; while :; do sleep 0.05; done")
	gate.mount(s)
	bundle := ocitest.Bundle(t, s)
	if _, err := c.Create(ctx, monitor.CreateRequest{ID: id, Bundle: bundle, Log: monitor.LogConfig{Path: log, Format: "cri"}}); err != nil {
		t.Fatal(err)
	}
	defer c.Delete(ctx, id, true)
	if _, err := c.Start(ctx, id); err != nil {
		t.Fatal(err)
	}
	first := monitorPid(t, socket)
	if sid, _, _ := syscall.RawSyscall(syscall.SYS_GETSID, uintptr(first), 0, 0); int(sid) != first {
		t.Errorf("the monitor's session is %d", sid)
	}
	gate.wait(t, "hello")
	waitLogged(t, log, "hello") // what the monitor holds in its hands dies with it
	process, err := kernel.OpenProcess(first)
	if err != nil {
		t.Fatal(err)
	}
	defer process.Close()
	if err := process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, _, err := process.Wait(); err != nil {
		t.Fatal(err)
	}
	st, err := c.State(ctx, id)
	if err != nil || st.Status != monitor.Running {
		t.Fatalf("state %+v, %v", st, err)
	}
	if second := monitorPid(t, socket); second == first {
		t.Error("the same monitor answers")
	}
	if err := c.Kill(ctx, id, syscall.SIGTERM, false); err != nil {
		t.Fatal(err)
	}
	exit, err := c.Wait(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	if kernel.PidfdInfo.Can() && exit.Code != 6 && exit.Code != monitor.UnknownExit {
		t.Errorf("exit %+v", exit)
	}
	t.Logf("exit code told to a monitor that is not the parent: %d", exit.Code)
	b, _ := os.ReadFile(log)
	if strings.Count(string(b), "F hello\n") != 1 || strings.Count(string(b), "F bye\n") != 1 {
		t.Errorf("log: %s", b)
	}
}

// kill -9 of the monitor at every moment of a create: the next one ends what had begun, process and cgroup.
func TestCreateThatIsCutOffLeavesNothing(t *testing.T) {
	ocitest.Need(t)
	dir := shortDir(t)
	c, socket := startMonitor(t, dir)
	ctx := contextFor(t)
	t.Cleanup(func() {
		parents, _ := filepath.Glob("/sys/fs/cgroup/*/nautest" + filepath.Base(dir))
		for _, p := range parents {
			if err := os.Remove(p); err != nil {
				t.Errorf("left: %v", err)
			}
		}
	})
	cut := 0
	bundleOf := func(id string) (bundle, cgroup string) {
		s := ocitest.Spec(t, "sleep", "1000")
		s.Linux.CgroupsPath = "/nautest" + filepath.Base(dir) + "/" + id
		return ocitest.Bundle(t, s), s.Linux.CgroupsPath
	}
	var whole time.Duration // what a create takes here and now
	for range 3 {
		id := ocitest.ID(t)
		bundle, _ := bundleOf(id)
		begin := time.Now()
		if _, err := c.Create(ctx, monitor.CreateRequest{ID: id, Bundle: bundle}); err != nil {
			t.Fatal(err)
		}
		whole = max(whole, time.Since(begin))
		if _, err := c.Delete(ctx, id, true); err != nil {
			t.Fatal(err)
		}
	}
	const rounds = 64
	for round := range rounds {
		id := fmt.Sprint(ocitest.ID(t), "-", round)
		bundle, cgroup := bundleOf(id)
		monitorProcess, err := kernel.OpenProcess(monitorPid(t, socket))
		if err != nil {
			t.Fatal(err)
		}
		made := make(chan error, 1)
		go func() {
			_, err := c.Create(ctx, monitor.CreateRequest{ID: id, Bundle: bundle})
			made <- err
		}()
		time.Sleep(whole * time.Duration(round) / rounds) // not to wait for something: the moment of the kill
		if err := monitorProcess.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if _, _, err := monitorProcess.Wait(); err != nil {
			t.Fatal(err)
		}
		_ = monitorProcess.Close()
		if err := <-made; err != nil {
			cut++
		}
		switch _, err := c.Delete(ctx, id, true); {
		case err != nil && !errors.Is(err, monitor.ErrNotFound):
			t.Fatalf("round %d: delete: %v", round, err)
		}
		for _, pid := range monitors(t, socket) {
			parent, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			if err != nil || !strings.Contains(string(parent), "NSpid:\t"+fmt.Sprint(pid)+"\t") {
				continue // gone, or the monitor
			}
			p, err := kernel.OpenProcess(pid)
			if err != nil {
				continue
			}
			stop := context.AfterFunc(ctx, func() { _ = p.Close() })
			_, _, err = p.Wait()
			stop()
			if err != nil {
				t.Fatalf("round %d: a process that was made for a container stays: %v", round, err)
			}
			_ = p.Close()
		}
		left, err := filepath.Glob("/sys/fs/cgroup/*" + cgroup)
		if err != nil || len(left) > 0 {
			t.Fatalf("round %d: left: %q, %v", round, left, err)
		}
		if folders, err := os.ReadDir(filepath.Join(dir, "m", "containers")); err != nil || len(folders) > 0 {
			t.Fatalf("round %d: left: %v, %v", round, folders, err)
		}
	}
	if cut == 0 {
		t.Error("no create was cut off: the kills do not meet them")
	}
}

// The reaper leaves to its waiter a process that ends as soon as it begins, whenever it looks.
func TestReaperTakesNobodysChild(t *testing.T) {
	ocitest.Need(t)
	ctx, cancel := context.WithCancel(context.Background())
	r := newReaper(ctx)
	b := &builtin{runtime: &oci.Runtime{Root: filepath.Join(t.TempDir(), "state"), Many: true}, reaper: r}
	c := &container{id: ocitest.ID(t), request: monitor.CreateRequest{Bundle: ocitest.Bundle(t, ocitest.Spec(t, "sleep", "1000"))}}
	var looking sync.WaitGroup
	looking.Go(func() {
		for ctx.Err() == nil {
			r.bury()
		}
	})
	m, err := b.create(c, &ends{[3]int{-1, -1, -1}})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.start(c); err != nil {
		t.Fatal(err)
	}
	for range 200 {
		x, err := b.exec(c, &monitor.ExecRequest{Process: &specs.Process{Args: []string{"true"}, Cwd: "/", Env: []string{"PATH=/bin"}}}, [3]int{-1, -1, -1})
		if err != nil {
			t.Fatal(err)
		}
		if status, known, err := x.process.Wait(); err != nil || !known || status.ExitStatus() != 0 {
			t.Fatalf("%v, %v, %v", status, known, err)
		}
		x.unkeep()
		x.process.Close()
	}
	if err := b.remove(c, true); err != nil {
		t.Error(err)
	}
	if _, _, err := m.process.Wait(); err != nil {
		t.Error(err)
	}
	m.unkeep()
	m.process.Close()
	cancel()
	looking.Wait()
	if r.buried > 0 || len(r.known) > 0 {
		t.Errorf("the reaper took %d children of others, and keeps %v", r.buried, r.known)
	}
}
