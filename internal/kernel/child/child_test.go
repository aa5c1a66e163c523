package child

import (
	"errors"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

func wait(t *testing.T, pid int) syscall.WaitStatus {
	t.Helper()
	var ws syscall.WaitStatus
	for {
		_, err := syscall.Wait4(pid, &ws, 0, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		return ws
	}
}

func TestChildRunsItsStepsAndExecutes(t *testing.T) {
	r, w := pipe(t)
	goR, goW := pipe(t)
	p := &Program{}
	p.Call("new session", unix.SYS_SETSID)
	p.Ready()
	p.Await(int(goR.Fd()))
	p.Inside()
	if err := p.Exec([]string{"/nonexistent/true", "/bin/sh"}, []string{"sh", "-c", "exit 7"}, nil); err != nil {
		t.Fatal(err)
	}
	pid, pidfd, err := p.Start(0, -1, int(w.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	w.Close()
	if _, err := p.Next(r); err != nil {
		t.Fatal(err)
	}
	goW.Write([]byte{1})
	if _, err := p.Next(r); !errors.Is(err, ErrEnded) {
		t.Fatalf("report after exec: %v", err)
	}
	if ws := wait(t, pid); ws.ExitStatus() != 7 {
		t.Fatalf("status %v", ws)
	}
}

func TestChildReportsTheStepThatFailed(t *testing.T) {
	r, w := pipe(t)
	p := &Program{}
	p.Call("close nothing", unix.SYS_CLOSE, 1<<20).Tolerate(unix.EBADF)
	p.Call("close what is not open", unix.SYS_CLOSE, 1<<20)
	pid, pidfd, err := p.Start(0, -1, int(w.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	_, err = p.Next(r)
	var step *StepError
	if !errors.As(err, &step) || step.Step != "close what is not open" || step.Errno != unix.EBADF {
		t.Fatalf("report: %v", err)
	}
	wait(t, pid)
}

func TestMissingProgramIsReported(t *testing.T) {
	r, w := pipe(t)
	p := &Program{}
	if err := p.Exec([]string{"/nonexistent/a", "/nonexistent/b"}, []string{"a"}, nil); err != nil {
		t.Fatal(err)
	}
	pid, pidfd, err := p.Start(0, -1, int(w.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	if _, err := p.Next(r); !errors.Is(err, unix.ENOENT) {
		t.Fatalf("report: %v", err)
	}
	if ws := wait(t, pid); ws.ExitStatus() != 127 {
		t.Fatalf("status %v", ws)
	}
}
