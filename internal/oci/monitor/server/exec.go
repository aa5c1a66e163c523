package server

import (
	"context"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"nau/internal/kernel"
	"nau/internal/oci/monitor"
)

// execution is one more process in a container.
type execution struct {
	process *kernel.Process
	exited  chan struct{}

	mu       sync.Mutex
	terminal *os.File
	exit     monitor.ExitStatus
}

func (e *execution) running() bool {
	if e == nil || e.process == nil {
		return false
	}
	select {
	case <-e.exited:
		return false
	default:
		return true
	}
}

// close lets go of the process and its terminal.
func (e *execution) close() {
	if e.process != nil {
		_ = e.process.Close()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.terminal != nil {
		_ = e.terminal.Close()
		e.terminal = nil
	}
}

func (c *container) exec(req *monitor.Request, files []int) (int, error) {
	r := req.Exec
	if r == nil || r.Process == nil || r.ExecID == "" {
		return 0, fmt.Errorf("exec in container %s: %w: a process and an id are needed", c.id, monitor.ErrInvalid)
	}
	if len(files) != len(req.Streams) {
		return 0, fmt.Errorf("exec in container %s: %w: %d streams named, %d passed", c.id, monitor.ErrInvalid, len(req.Streams), len(files))
	}
	if err := c.expect("exec in", monitor.Running); err != nil {
		return 0, err
	}
	e := &execution{exited: make(chan struct{})}
	c.mu.Lock()
	if c.execs[r.ExecID] != nil {
		c.mu.Unlock()
		return 0, fmt.Errorf("exec %s in container %s: %w", r.ExecID, c.id, monitor.ErrExists)
	}
	c.execs[r.ExecID] = e
	c.mu.Unlock()
	stdio := [3]int{-1, -1, -1}
	for i, name := range req.Streams {
		for n, known := range []string{"stdin", "stdout", "stderr"} {
			if name == known {
				stdio[n] = files[i]
			}
		}
	}
	p, err := c.backend.exec(c, r, stdio)
	if err != nil {
		c.mu.Lock()
		delete(c.execs, r.ExecID)
		c.mu.Unlock()
		return 0, err
	}
	c.mu.Lock()
	e.process = p.process
	c.mu.Unlock()
	copied := make(chan struct{})
	if p.console >= 0 {
		err := e.join(p.console, stdio, copied)
		if err != nil {
			c.server.cfg.Log.Error("join terminal", "id", c.id, "exec", r.ExecID, "error", err)
			close(copied)
		}
	} else {
		close(copied)
	}
	go func() {
		status, known, err := p.process.Wait()
		p.unkeep()
		if err != nil {
			known = false
		}
		e.lastWords()
		<-copied
		e.close()
		e.mu.Lock()
		e.exit = exitStatus(status, known)
		exit := e.exit
		e.mu.Unlock()
		close(e.exited)
		c.pass(r.ExecID)
		c.tell(monitor.Event{Type: monitor.EventExecExited, ExecID: r.ExecID, Pid: p.process.Pid, ExitCode: exit.Code, Time: exit.Finished})
	}()
	return p.process.Pid, nil
}

// unsaid is how long what a process wrote may be on its way through its terminal.
var unsaid = 200 * time.Millisecond

// lastWords ends the copying of a terminal that other processes hold open beyond the process's end. What that one wrote is in the terminal.
func (e *execution) lastWords() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.terminal != nil {
		_ = e.terminal.SetReadDeadline(time.Now().Add(unsaid))
	}
}

// pastExecs is how many that have ended a container remembers, for who asks for an exit status late. A health check makes one a second.
const pastExecs = 256

// pass marks an execution as ended; the oldest of many is forgotten.
func (c *container) pass(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.past = append(c.past, id)
	if len(c.past) > pastExecs {
		delete(c.execs, c.past[0])
		c.past = append(make([]string, 0, 2*pastExecs), c.past[1:]...)
	}
}

// join copies between the caller's files and the terminal. copied is closed when all that the terminal showed is out.
func (e *execution) join(master int, stdio [3]int, copied chan struct{}) error {
	if err := unix.SetNonblock(master, true); err != nil {
		kernel.Close(master)
		return err
	}
	terminal := os.NewFile(uintptr(master), "terminal")
	e.mu.Lock()
	e.terminal = terminal
	e.mu.Unlock()
	var in, out *os.File
	var err error
	if stdio[0] >= 0 {
		if in, err = duplicate(stdio[0]); err != nil {
			return err
		}
		go func() {
			defer in.Close()
			copyIdle(in, func(b []byte) { _, _ = terminal.Write(b) })
		}()
	}
	if stdio[1] >= 0 {
		if out, err = duplicate(stdio[1]); err != nil {
			return err
		}
	}
	go func() {
		defer close(copied)
		show := func(b []byte) {
			if out != nil {
				_, _ = out.Write(b)
			}
		}
		copyIdle(terminal, show)
		copyRest(terminal, show) // what a slow reader kept waiting beyond lastWords
		if out != nil {
			_ = out.Close()
		}
		if in != nil {
			_ = in.Close()
		}
	}()
	return nil
}

// duplicate makes a file of our own of a descriptor that was passed. It may share its state with the caller's end, so it
// is only made non-blocking where that is usual: pipes and sockets.
func duplicate(fd int) (*os.File, error) {
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("duplicate descriptor: %w", err)
	}
	var st unix.Stat_t
	if unix.Fstat(own, &st) == nil && (st.Mode&unix.S_IFMT == unix.S_IFIFO || st.Mode&unix.S_IFMT == unix.S_IFSOCK) {
		_ = unix.SetNonblock(own, true)
	}
	return os.NewFile(uintptr(own), "stream"), nil
}

func (c *container) findExec(id string) (*execution, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.execs[id]
	if e == nil || e.process == nil {
		return nil, fmt.Errorf("exec %s in container %s: %w", id, c.id, monitor.ErrNotFound)
	}
	return e, nil
}

func (c *container) waitExec(ctx context.Context, id string) (monitor.ExitStatus, error) {
	e, err := c.findExec(id)
	if err != nil {
		return monitor.ExitStatus{}, err
	}
	select {
	case <-e.exited:
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.exit, nil
	case <-ctx.Done():
		return monitor.ExitStatus{}, ctx.Err()
	}
}

func (c *container) resizeExec(id string, size [2]uint16) error {
	e, err := c.findExec(id)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.terminal == nil {
		return fmt.Errorf("resize exec %s in container %s: it has no terminal: %w", id, c.id, monitor.ErrState)
	}
	return setSize(e.terminal, size)
}

func (c *container) killExec(id string, sig syscall.Signal) error {
	e, err := c.findExec(id)
	if err != nil {
		return err
	}
	if err := e.process.Signal(sig); err != nil {
		return fmt.Errorf("kill exec %s in container %s: %w: %w", id, c.id, monitor.ErrState, err)
	}
	return nil
}
