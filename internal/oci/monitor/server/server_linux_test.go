package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"golang.org/x/sys/unix"

	"nau/internal/oci/monitor"
	"nau/internal/oci/ocitest"
)

// begin runs a monitor in this process.
func begin(t *testing.T, state string) (*monitor.Client, func()) {
	t.Helper()
	ocitest.Need(t)
	ctx, cancel := context.WithCancel(context.Background())
	socket := filepath.Join(state, "s")
	ready := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, Config{Socket: socket, StateDir: state, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)), Ready: func() { close(ready) }})
	}()
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return monitor.Connect(socket), stop
}

// shortDir is a folder whose path fits a socket's address.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "nau")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func contextFor(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestLifeOfAContainer(t *testing.T) {
	state := shortDir(t)
	c, _ := begin(t, state)
	ctx := contextFor(t)
	id := ocitest.ID(t)
	log := filepath.Join(state, "log", "0.log")
	bundle := ocitest.Bundle(t, ocitest.Spec(t, "sh", "-c", "echo out; echo err >&2; printf end; exit 3"))
	pid, err := c.Create(ctx, monitor.CreateRequest{ID: id, Bundle: bundle, Log: monitor.LogConfig{Path: log, Format: "cri"}})
	if err != nil {
		t.Fatal(err)
	}
	if pid <= 0 {
		t.Fatalf("pid %d", pid)
	}
	if _, err := c.Create(ctx, monitor.CreateRequest{ID: id, Bundle: bundle}); !errors.Is(err, monitor.ErrExists) {
		t.Errorf("second create: %v", err)
	}
	if st, err := c.State(ctx, id); err != nil || st.Status != monitor.Created || st.Pid != pid {
		t.Errorf("state %+v, %v", st, err)
	}
	streams, err := c.Attach(ctx, id, monitor.AttachOptions{Stdout: true, Stderr: true})
	if err != nil {
		t.Fatal(err)
	}
	defer streams.Close()
	if _, err := c.Start(ctx, id); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Start(ctx, id); !errors.Is(err, monitor.ErrState) {
		t.Errorf("second start: %v", err)
	}
	if out, err := io.ReadAll(streams.Stdout); err != nil || string(out) != "out\nend" {
		t.Errorf("stdout %q, %v", out, err)
	}
	if out, err := io.ReadAll(streams.Stderr); err != nil || string(out) != "err\n" {
		t.Errorf("stderr %q, %v", out, err)
	}
	exit, err := c.Wait(ctx, id)
	if err != nil || exit.Code != 3 {
		t.Errorf("exit %+v, %v", exit, err)
	}
	lines, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{" stdout F out\n", " stderr F err\n", " stdout P end\n"} {
		if !strings.Contains(string(lines), want) {
			t.Errorf("log lacks %q: %s", want, lines)
		}
	}
	if _, err := c.Delete(ctx, id, false); err != nil {
		t.Fatal(err)
	}
	if _, err := c.State(ctx, id); !errors.Is(err, monitor.ErrNotFound) {
		t.Errorf("state after delete: %v", err)
	}
	events, err := c.Events(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []monitor.EventType{monitor.EventCreated, monitor.EventStarted, monitor.EventExited, monitor.EventDeleted} {
		e := <-events
		if e.Type != want || e.Seq != uint64(i+1) || e.ID != id {
			t.Errorf("event %d: %+v, want %s", i, e, want)
		}
	}
}

// sleeping starts a container that sleeps.
func sleeping(t *testing.T, c *monitor.Client) (id string) {
	t.Helper()
	ctx := contextFor(t)
	id = ocitest.ID(t)
	if _, err := c.Create(ctx, monitor.CreateRequest{ID: id, Bundle: ocitest.Bundle(t, ocitest.Spec(t, "sleep", "1000"))}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Start(ctx, id); err != nil {
		t.Fatal(err)
	}
	return id
}

func TestExecPassesStreamsAndExitCode(t *testing.T) {
	c, _ := begin(t, shortDir(t))
	ctx := contextFor(t)
	id := sleeping(t, c)
	defer c.Delete(ctx, id, true)
	in, inW, _ := os.Pipe()
	out, outW, _ := os.Pipe()
	defer out.Close()
	process := &specs.Process{Args: []string{"sh", "-c", "cat; id -u; exit 9"}, Cwd: "/", Env: []string{"PATH=/bin"}, User: specs.User{UID: 1000, GID: 1000}}
	if _, err := c.Exec(ctx, monitor.ExecRequest{ID: id, ExecID: "e1", Process: process, Stdin: in, Stdout: outW}); err != nil {
		t.Fatal(err)
	}
	in.Close()
	outW.Close()
	inW.WriteString("hello\n")
	inW.Close()
	if got, _ := io.ReadAll(out); string(got) != "hello\n1000\n" {
		t.Errorf("output %q", got)
	}
	if exit, err := c.WaitExec(ctx, id, "e1"); err != nil || exit.Code != 9 {
		t.Errorf("exit %+v, %v", exit, err)
	}
	process.Args = []string{"/no/such/program"}
	if _, err := c.Exec(ctx, monitor.ExecRequest{ID: id, ExecID: "e2", Process: process}); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("missing program: %v", err)
	}
}

// A container lives long and has a health check every second.
func TestExecsLeaveNothing(t *testing.T) {
	c, _ := begin(t, shortDir(t))
	ctx := contextFor(t)
	id := sleeping(t, c)
	defer c.Delete(ctx, id, true)
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	exec := func(n int) {
		name := fmt.Sprint("e", n)
		req := monitor.ExecRequest{ID: id, ExecID: name, Process: &specs.Process{Args: []string{"true"}, Cwd: "/", Env: []string{"PATH=/bin"}}}
		if n%2 == 0 {
			req.Terminal, req.Stdout = true, null
		}
		if _, err := c.Exec(ctx, req); err != nil {
			t.Fatal(err)
		}
		if exit, err := c.WaitExec(ctx, id, name); err != nil || exit.Code != 0 {
			t.Fatalf("exit %+v, %v", exit, err)
		}
	}
	held := func() (n int) { // what os.File has a finalizer for is not let go of in time
		links, err := filepath.Glob("/proc/self/fd/*")
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range links {
			if to, _ := os.Readlink(l); strings.HasSuffix(to, "ptmx") || strings.Contains(to, "pidfd") {
				n++
			}
		}
		return n
	}
	exec(0)
	before := held()
	for n := 1; n <= 10; n++ {
		exec(n)
	}
	if now := held(); now > before {
		t.Errorf("%d pidfds and terminals more after 10 executions", now-before)
	}
}

// A process that was left in the background holds the terminal open; the execution ends with its own.
func TestExecEndsBeforeWhatItLeft(t *testing.T) {
	c, _ := begin(t, shortDir(t))
	ctx := contextFor(t)
	id := sleeping(t, c)
	defer c.Delete(ctx, id, true)
	out, outW, _ := os.Pipe()
	defer out.Close()
	process := &specs.Process{Args: []string{"sh", "-c", "trap '' HUP; sleep 1000 & echo words; exit 3"}, Cwd: "/", Env: []string{"PATH=/bin"}}
	if _, err := c.Exec(ctx, monitor.ExecRequest{ID: id, ExecID: "e", Process: process, Terminal: true, Stdout: outW}); err != nil {
		t.Fatal(err)
	}
	outW.Close()
	_ = out.SetReadDeadline(time.Now().Add(time.Minute))
	if got, _ := io.ReadAll(out); string(got) != "words\r\n" {
		t.Errorf("output %q", got)
	}
	if exit, err := c.WaitExec(ctx, id, "e"); err != nil || exit.Code != 3 {
		t.Errorf("exit %+v, %v", exit, err)
	}
}

// Who reads slowly gets all that a process wrote before its end, although others hold its terminal open.
func TestExecIsHeardOut(t *testing.T) {
	defer func(d time.Duration) { unsaid = d }(unsaid)
	unsaid = 0
	c, _ := begin(t, shortDir(t))
	ctx := contextFor(t)
	id := sleeping(t, c)
	defer c.Delete(ctx, id, true)
	out, outW, _ := os.Pipe()
	defer out.Close()
	if _, err := unix.FcntlInt(outW.Fd(), unix.F_SETPIPE_SZ, 4096); err != nil {
		t.Fatal(err)
	}
	const size = 10_000
	process := &specs.Process{Args: []string{"sh", "-c", fmt.Sprintf("trap '' HUP; sleep 1000 & yes | tr -d '\\n' | head -c %d", size)}, Cwd: "/", Env: []string{"PATH=/bin"}}
	pid, err := c.Exec(ctx, monitor.ExecRequest{ID: id, ExecID: "e", Process: process, Terminal: true, Stdout: outW})
	if err != nil {
		t.Fatal(err)
	}
	outW.Close()
	if fd, err := unix.PidfdOpen(pid, 0); err == nil { // until it has ended
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 60_000)
		unix.Close(fd)
	}
	for range 20 { // and for its waiter to notice
		if err := c.Ping(ctx); err != nil {
			t.Fatal(err)
		}
	}
	_ = out.SetReadDeadline(time.Now().Add(time.Minute))
	if got, _ := io.ReadAll(out); len(got) != size {
		t.Errorf("%d bytes of %d", len(got), size)
	}
}

func TestTerminal(t *testing.T) {
	c, _ := begin(t, shortDir(t))
	ctx := contextFor(t)
	id := ocitest.ID(t)
	s := ocitest.Spec(t, "sh", "-c", "tty; stty size; read x; echo got $x; tty </dev/console")
	s.Process.Terminal = true
	if _, err := c.Create(ctx, monitor.CreateRequest{ID: id, Bundle: ocitest.Bundle(t, s), Terminal: true, OpenStdin: true, Size: [2]uint16{100, 40}}); err != nil {
		t.Fatal(err)
	}
	defer c.Delete(ctx, id, true)
	streams, err := c.Attach(ctx, id, monitor.AttachOptions{Stdin: true, Stdout: true, Stderr: true})
	if err != nil {
		t.Fatal(err)
	}
	defer streams.Close()
	if _, err := c.Start(ctx, id); err != nil {
		t.Fatal(err)
	}
	if _, err := streams.Stdin.WriteString("word\n"); err != nil {
		t.Fatal(err)
	}
	out, _ := io.ReadAll(streams.Stdout)
	for _, want := range []string{"/dev/pts/0\r\n", "40 100\r\n", "got word\r\n"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("terminal lacks %q: %q", want, out)
		}
	}
}

func TestStdinOnceEndsWithItsClient(t *testing.T) {
	c, _ := begin(t, shortDir(t))
	ctx := contextFor(t)
	id := ocitest.ID(t)
	if _, err := c.Create(ctx, monitor.CreateRequest{ID: id, Bundle: ocitest.Bundle(t, ocitest.Spec(t, "cat")), OpenStdin: true, StdinOnce: true}); err != nil {
		t.Fatal(err)
	}
	defer c.Delete(ctx, id, true)
	streams, err := c.Attach(ctx, id, monitor.AttachOptions{Stdin: true, Stdout: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Start(ctx, id); err != nil {
		t.Fatal(err)
	}
	big := bytes.Repeat([]byte("0123456789abcde\n"), 1<<16)
	go func() {
		streams.Stdin.Write(big)
		streams.Stdin.Close()
	}()
	out, err := io.ReadAll(streams.Stdout)
	if err != nil || !bytes.Equal(out, big) {
		t.Errorf("%d bytes came back of %d, %v", len(out), len(big), err)
	}
	if exit, err := c.Wait(ctx, id); err != nil || exit.Code != 0 {
		t.Errorf("exit %+v, %v", exit, err)
	}
}

// Docker says StdinOnce of every container that is run with -it, and detaching from one leaves its shell alone.
func TestATerminalOutlivesItsFirstClient(t *testing.T) {
	c, _ := begin(t, shortDir(t))
	ctx := contextFor(t)
	id := ocitest.ID(t)
	s := ocitest.Spec(t, "sh", "-c", "read a; echo first.; read b || echo ended; echo $a-$b.")
	s.Process.Terminal = true
	if _, err := c.Create(ctx, monitor.CreateRequest{ID: id, Bundle: ocitest.Bundle(t, s), Terminal: true, OpenStdin: true, StdinOnce: true}); err != nil {
		t.Fatal(err)
	}
	defer c.Delete(ctx, id, true)
	for i, turn := range []struct{ typed, want string }{{"one\n", "first."}, {"two\n", "one-two."}} {
		streams, err := c.Attach(ctx, id, monitor.AttachOptions{Stdin: true, Stdout: true})
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			if _, err := c.Start(ctx, id); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := io.WriteString(streams.Stdin, turn.typed); err != nil {
			t.Fatal(err)
		}
		seen := ""
		for buf := make([]byte, 512); !strings.Contains(seen, turn.want); {
			n, err := streams.Stdout.Read(buf)
			if seen += string(buf[:n]); err != nil {
				t.Fatalf("after %q: %v; want %q", seen, err, turn.want)
			}
		}
		if strings.Contains(seen, "ended") {
			t.Errorf("the shell was told of an end: %q", seen)
		}
		streams.Close()
	}
}

func TestKillPauseAndForcedDelete(t *testing.T) {
	c, _ := begin(t, shortDir(t))
	ctx := contextFor(t)
	id := ocitest.ID(t)
	if _, err := c.Create(ctx, monitor.CreateRequest{ID: id, Bundle: ocitest.Bundle(t, ocitest.Spec(t, "sleep", "100"))}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Start(ctx, id); err != nil {
		t.Fatal(err)
	}
	if err := c.Pause(ctx, id); err != nil {
		t.Fatal(err)
	}
	if st, _ := c.State(ctx, id); st.Status != monitor.Paused {
		t.Errorf("status %s", st.Status)
	}
	if err := c.Resume(ctx, id); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Delete(ctx, id, false); !errors.Is(err, monitor.ErrState) {
		t.Errorf("delete of a running container: %v", err)
	}
	if err := c.Pause(ctx, id); err != nil {
		t.Fatal(err)
	}
	if err := c.Kill(ctx, id, syscall.SIGKILL, false); err != nil {
		t.Fatal(err)
	}
	if exit, err := c.Wait(ctx, id); err != nil || exit.Code != 137 || exit.Signal != 9 {
		t.Errorf("exit %+v, %v", exit, err)
	}
	if _, err := c.Delete(ctx, id, true); err != nil {
		t.Fatal(err)
	}
}

// A monitor that is gone loses no container, no output and, where the kernel tells, no exit code.
func TestRestartAdoptsContainers(t *testing.T) {
	state := shortDir(t)
	c, stop := begin(t, state)
	ctx := contextFor(t)
	id := ocitest.ID(t)
	log := filepath.Join(state, "0.log")
	gate := newGate(t, state, "1", "2", "3")
	s := ocitest.Spec(t, "sh", "-c", "echo before; read x </gate/1; echo between; echo >/gate/2; read x </gate/3; echo after; exit 5")
	gate.mount(s)
	if _, err := c.Create(ctx, monitor.CreateRequest{ID: id, Bundle: ocitest.Bundle(t, s), Log: monitor.LogConfig{Path: log, Format: "cri"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Start(ctx, id); err != nil {
		t.Fatal(err)
	}
	stop()
	gate.open(t, "1")
	gate.wait(t, "2") // it has written while no monitor ran
	c, _ = begin(t, state)
	if st, err := c.State(ctx, id); err != nil || st.Status != monitor.Running {
		t.Fatalf("state %+v, %v", st, err)
	}
	gate.open(t, "3")
	if exit, err := c.Wait(ctx, id); err != nil || exit.Code != 5 {
		t.Errorf("exit %+v, %v", exit, err)
	}
	lines, _ := os.ReadFile(log)
	for _, want := range []string{"before", "between", "after"} {
		if strings.Count(string(lines), " F "+want+"\n") != 1 {
			t.Errorf("log lacks %q or has it twice: %s", want, lines)
		}
	}
	if _, err := c.Delete(ctx, id, false); err != nil {
		t.Fatal(err)
	}
	events, err := c.Events(ctx, 2)
	if err != nil {
		t.Fatal(err)
	}
	if e := <-events; e.Seq != 3 || e.Type != monitor.EventExited || e.ExitCode != 5 {
		t.Errorf("event after restart: %+v", e)
	}
}

func TestOutOfMemoryIsTold(t *testing.T) {
	c, _ := begin(t, shortDir(t))
	ctx := contextFor(t)
	id := ocitest.ID(t)
	s := ocitest.Spec(t, "sh", "-c", "tail /dev/zero; echo survived $?; tail /dev/zero; exec tail /dev/zero")
	limit := int64(12 << 20)
	s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &limit, Swap: &limit}
	if _, err := c.Create(ctx, monitor.CreateRequest{ID: id, Bundle: ocitest.Bundle(t, s)}); err != nil {
		t.Fatal(err)
	}
	defer c.Delete(ctx, id, true)
	if _, err := c.Start(ctx, id); err != nil {
		t.Fatal(err)
	}
	exit, err := c.Wait(ctx, id)
	if err != nil || !exit.OOMKilled || exit.Code != 137 {
		t.Errorf("exit %+v, %v", exit, err)
	}
	events, err := c.Events(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	told := 0
	for e := range events {
		if e.Type == monitor.EventOOM {
			told++
		}
		if e.Type == monitor.EventExited {
			if !e.OOMKilled {
				t.Errorf("event %+v", e)
			}
			break
		}
	}
	if told == 0 {
		t.Error("no event of it")
	}
}

// Output that nobody reads does not stop a container, and a client that reads gets every byte.
func TestFloodOfOutput(t *testing.T) {
	state := shortDir(t)
	c, _ := begin(t, state)
	ctx := contextFor(t)
	id := ocitest.ID(t)
	log := filepath.Join(state, "0.log")
	s := ocitest.Spec(t, "sh", "-c", "yes 0123456789abcdefghijklmnopqrstuvwxyz | head -c 20000000")
	if _, err := c.Create(ctx, monitor.CreateRequest{ID: id, Bundle: ocitest.Bundle(t, s), Log: monitor.LogConfig{Path: log, Format: "cri", MaxSize: 1 << 20, MaxFiles: 2}}); err != nil {
		t.Fatal(err)
	}
	defer c.Delete(ctx, id, true)
	streams, err := c.Attach(ctx, id, monitor.AttachOptions{Stdout: true})
	if err != nil {
		t.Fatal(err)
	}
	defer streams.Close()
	idle, err := c.Attach(ctx, id, monitor.AttachOptions{Stdout: true})
	if err != nil {
		t.Fatal(err)
	}
	idle.Close() // one that goes away must not matter
	if _, err := c.Start(ctx, id); err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, streams.Stdout)
	if err != nil || n != 20000000 {
		t.Errorf("%d bytes, %v", n, err)
	}
	if exit, err := c.Wait(ctx, id); err != nil || exit.Code != 0 {
		t.Errorf("exit %+v, %v", exit, err)
	}
	for _, path := range []string{log, log + ".1"} {
		info, err := os.Stat(path)
		if err != nil || info.Size() > 1<<20 {
			t.Errorf("log %s: %v, %v", path, info, err)
		}
	}
	if _, err := os.Stat(log + ".2"); err == nil {
		t.Error("a third log file is kept")
	}
}

func TestExternalRuntime(t *testing.T) {
	const path = "/usr/sbin/runc"
	if _, err := os.Stat(path); err != nil {
		t.Skip(err)
	}
	c, _ := begin(t, shortDir(t))
	ctx := contextFor(t)
	id := ocitest.ID(t)
	s := ocitest.Spec(t, "sh", "-c", "echo from runc; sleep 100")
	s.Version = "1.0.2"
	if _, err := c.Create(ctx, monitor.CreateRequest{ID: id, Bundle: ocitest.Bundle(t, s), Runtime: path}); err != nil {
		t.Fatal(err)
	}
	streams, err := c.Attach(ctx, id, monitor.AttachOptions{Stdout: true})
	if err != nil {
		t.Fatal(err)
	}
	defer streams.Close()
	if _, err := c.Start(ctx, id); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 10)
	if _, err := io.ReadFull(streams.Stdout, line); err != nil || string(line) != "from runc\n" {
		t.Errorf("output %q, %v", line, err)
	}
	out, outW, _ := os.Pipe()
	defer out.Close()
	if _, err := c.Exec(ctx, monitor.ExecRequest{ID: id, ExecID: "e", Process: &specs.Process{Args: []string{"sh", "-c", "echo exec; exit 4"}, Cwd: "/", Env: []string{"PATH=/bin"}}, Stdout: outW}); err != nil {
		t.Fatal(err)
	}
	outW.Close()
	if got, _ := io.ReadAll(out); string(got) != "exec\n" {
		t.Errorf("exec said %q", got)
	}
	if exit, err := c.WaitExec(ctx, id, "e"); err != nil || exit.Code != 4 {
		t.Errorf("exec's exit %+v, %v", exit, err)
	}
	if exit, err := c.Delete(ctx, id, true); err != nil || exit.Code != 137 {
		t.Errorf("exit %+v, %v", exit, err)
	}
}
