package container

import (
	"context"
	"errors"
	"log/slog"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"nau/internal/engine/events"
	"nau/internal/engine/record"
	"nau/internal/engine/sandbox"
	"nau/internal/engine/spec"
	"nau/internal/kernel"
	"nau/internal/oci/monitor"
)

// forgetful is a monitor that came after the container's end, and knows nothing of it.
type forgetful struct{ Runtime }

func (forgetful) State(context.Context, string) (monitor.State, error) {
	return monitor.State{}, monitor.ErrNotFound
}
func (forgetful) Delete(context.Context, string, bool) (monitor.ExitStatus, error) {
	return monitor.ExitStatus{}, monitor.ErrNotFound
}

type noSandboxes struct{ Sandboxes }

func (noSandboxes) Get(string) (*sandbox.Record, error) { return nil, sandbox.ErrNotFound }

// The exit code of a process that ended while there was no monitor comes from the kernel.
func TestExitWithoutAMonitor(t *testing.T) {
	if err := kernel.PidfdInfo.Check(); err != nil {
		t.Skip(err)
	}
	for script, want := range map[string]int{"read x; exit 6": 6, "read x; kill -KILL $$": 137} {
		dir, err := record.Open[Record](t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		m := &Manager{records: dir, set: Settings{RunDir: t.TempDir(), Runtime: forgetful{}, Sandboxes: noSandboxes{},
			Events: &events.Bus{}, Log: slog.New(slog.DiscardHandler)}}
		cmd := exec.Command("sh", "-c", script)
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		id := record.NewID()
		e := &entry{rec: &Record{ID: id, State: Running, Pid: cmd.Process.Pid}, gone: make(chan struct{})}
		m.index.Put(id, e)
		e.hold(cmd.Process.Pid)
		stdin.Close()
		_ = cmd.Wait() // somebody else reaps it, as the system's init does with orphans
		if err := m.settle(context.Background(), e); err != nil {
			t.Fatal(err)
		}
		if r, _ := m.current(e); r.State != Exited || r.ExitCode != want || r.Lost {
			t.Errorf("%q: %s with %d, lost %v; want %d", script, r.State, r.ExitCode, r.Lost, want)
		}
		if e.process != nil {
			t.Errorf("%q: the process is still held", script)
		}
	}
}

// Who changes a container while another removes it changes nothing, and brings no record back.
func TestChangeOfWhatIsRemoved(t *testing.T) {
	path := t.TempDir()
	dir, err := record.Open[Record](path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	m := &Manager{records: dir, set: Settings{RunDir: t.TempDir(), Runtime: forgetful{}, Sandboxes: noSandboxes{}, Events: &events.Bus{}, Log: slog.New(slog.DiscardHandler)}}
	for range 200 {
		r := &Record{ID: record.NewID(), State: Exited}
		if err := dir.Put(r.ID, r); err != nil {
			t.Fatal(err)
		}
		e := &entry{rec: r}
		m.mu.Lock()
		m.index.Put(r.ID, e)
		m.mu.Unlock()
		e.op.Lock()
		begun, changed := make(chan struct{}), make(chan error)
		go func() {
			close(begun)
			changed <- m.Update(r.ID, func(*Record) {})
		}()
		<-begun
		for range 10 {
			runtime.Gosched() // it is most likely to wait now
		}
		if err := dir.Delete(r.ID); err != nil {
			t.Fatal(err)
		}
		m.mu.Lock()
		m.index.Remove(r.ID, "")
		m.mu.Unlock()
		e.op.Unlock()
		if err := <-changed; !errors.Is(err, ErrNotFound) {
			t.Fatalf("changed what is gone: %v", err)
		}
	}
	if all, damaged, err := record.Look[Record](path); err != nil || len(all)+len(damaged) > 0 {
		t.Errorf("%d records came back, %q, %v", len(all), damaged, err)
	}
}

// slow is a monitor that takes its time to begin a process, and goes by no context but the one it is called with.
type slow struct {
	Runtime
	began, begin chan struct{}
	killed       chan string
}

func (s slow) Exec(ctx context.Context, _ monitor.ExecRequest) (int, error) {
	close(s.began)
	<-s.begin
	return 7, ctx.Err()
}

func (s slow) WaitExec(ctx context.Context, _, _ string) (monitor.ExitStatus, error) {
	<-ctx.Done()
	return monitor.ExitStatus{}, ctx.Err()
}

func (s slow) KillExec(ctx context.Context, _, execID string, _ syscall.Signal) error {
	s.killed <- execID
	return ctx.Err()
}

// Who leaves while a process is begun leaves none behind.
func TestExecThatIsLeftEarly(t *testing.T) {
	s := slow{began: make(chan struct{}), begin: make(chan struct{}), killed: make(chan string, 1)}
	m := &Manager{set: Settings{Runtime: s, Log: slog.New(slog.DiscardHandler)}}
	r := &Record{ID: record.NewID(), State: Running, Process: &specs.Process{}, Inherited: &spec.Image{}}
	m.index.Put(r.ID, &entry{rec: r})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() {
		_, err := m.Exec(ctx, r.ID, ExecConfig{ID: "e", Args: []string{"true"}})
		ended <- err
	}()
	<-s.began
	cancel()
	close(s.begin)
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("exec: %v", err)
	}
	select {
	case id := <-s.killed:
		if id != "e" {
			t.Errorf("killed %q", id)
		}
	default:
		t.Error("the process lives on")
	}
}
