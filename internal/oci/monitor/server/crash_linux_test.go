package server

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"nau/internal/kernel"
	"nau/internal/oci/monitor"
	"nau/internal/oci/ocitest"
)

// monitorPid finds the monitor that listens on socket.
func monitorPid(t *testing.T, socket string) int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		line, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if args := strings.Split(string(line), "\x00"); len(args) > 3 && args[1] == "monitor" && args[3] == socket {
			pid, _ := strconv.Atoi(e.Name())
			return pid
		}
	}
	t.Fatal("no monitor is found")
	return 0
}

// kill -9 of the monitor: containers go on, a call of the client brings a new monitor, which tells their exit codes where
// the kernel tells them.
func TestKilledMonitorIsRevivedAndAdopts(t *testing.T) {
	ocitest.Need(t)
	dir := shortDir(t)
	binary := filepath.Join(dir, "nau-oci")
	build := exec.Command("go", "build", "-o", binary, "nau/cmd/nau-oci")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build nau-oci: %v: %s", err, out)
	}
	ctx := contextFor(t)
	socket := filepath.Join(dir, "s")
	c, err := monitor.Start(monitor.Options{Binary: binary, Socket: socket, StateDir: filepath.Join(dir, "m")})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Shutdown(ctx)
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
