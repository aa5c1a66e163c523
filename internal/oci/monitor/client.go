package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Options says where a monitor is to be found, and how to start it.
type Options struct {
	Binary     string // nau-oci, best a sealed copy: see Seal
	Socket     string // unix socket
	StateDir   string // the monitor's own records; a tmpfs that lives as long as the machine's uptime
	CgroupRoot string // cgroup the monitor itself is put under, "" leaves it where it is started
	Log        string // file for the monitor's own messages; "" is StateDir/monitor.log
}

// Client speaks to a monitor. It holds no connection between calls: every call has its own, so a Client is good for any
// number of goroutines and over a restart of the monitor. A Client of Start begins a new monitor when the old one is gone.
type Client struct {
	socket  string
	options *Options // nil: of Connect

	reviving sync.Mutex
}

// Connect makes a client for the monitor at socket without starting one.
func Connect(socket string) *Client { return &Client{socket: socket} }

// Start makes a client; if no monitor answers at the socket it starts one, detached: in a session of its own and a child
// of the system's init, so that it survives the caller. It returns when the monitor answers.
func Start(o Options) (*Client, error) {
	if err := begin(o); err != nil {
		return nil, err
	}
	return &Client{socket: o.Socket, options: &o}, nil
}

// begin starts a monitor unless one answers.
func begin(o Options) error {
	c := Connect(o.Socket)
	if c.Ping(context.Background()) == nil {
		return nil
	}
	if err := os.MkdirAll(o.StateDir, 0o700); err != nil {
		return fmt.Errorf("make monitor state folder: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(o.Socket), 0o711); err != nil {
		return fmt.Errorf("make monitor socket folder: %w", err)
	}
	logPath := o.Log
	if logPath == "" {
		logPath = filepath.Join(o.StateDir, "monitor.log")
	}
	logFile, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open monitor log: %w", err)
	}
	defer logFile.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	ready, readyW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	args := []string{"nau-oci", "monitor", "--socket", o.Socket, "--state", o.StateDir, "--detach"}
	if o.CgroupRoot != "" {
		args = append(args, "--cgroup", o.CgroupRoot)
	}
	p, err := os.StartProcess(o.Binary, args, &os.ProcAttr{
		Dir: "/", Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"},
		Files: []*os.File{null, logFile, logFile, readyW},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	_ = readyW.Close()
	if err != nil {
		return fmt.Errorf("start monitor: %w", err)
	}
	// The process started here forks the monitor and ends; the pipe tells when the monitor listens.
	if _, err := p.Wait(); err != nil {
		return fmt.Errorf("start monitor: %w", err)
	}
	said, _ := io.ReadAll(ready)
	if strings.TrimSpace(string(said)) != "ready" {
		// Another caller may have started one at the same moment, which has the lock and will listen.
		for try := 0; try < 40; try++ {
			if c.Ping(context.Background()) == nil {
				return nil
			}
			time.Sleep(50 * time.Millisecond)
		}
		return fmt.Errorf("start monitor: it ended before it listened; see %s: %s", logPath, strings.TrimSpace(string(said)))
	}
	return nil
}

// repeatable tells that a request may be sent again where the monitor went away with the answer: it changes nothing, or a second time
// nothing more. A deletion that had been done is answered with ErrNotFound then.
func (r *Request) repeatable() bool {
	switch r.Op {
	case OpPing, OpState, OpList, OpWait, OpWaitExec, OpStats, OpDelete:
		return true
	case OpKill:
		return syscall.Signal(r.Signal) == unix.SIGKILL
	}
	return false
}

// call sends one request and decodes its answer into result, unless that is nil.
func (c *Client) call(ctx context.Context, req *Request, result any, files ...int) error {
	err := c.try(ctx, req, result, files...)
	if errors.Is(err, ErrUnavailable) && c.options != nil && req.repeatable() && ctx.Err() == nil {
		err = c.try(ctx, req, result, files...)
	}
	return err
}

func (c *Client) try(ctx context.Context, req *Request, result any, files ...int) error {
	conn, err := c.send(ctx, req, files...)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	_, err = receive(ctx, conn, result)
	return err
}

func (c *Client) send(ctx context.Context, req *Request, files ...int) (*Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	body, err := json.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", req.Op, err)
	}
	conn, err := Dial(c.socket)
	if err != nil && c.options != nil {
		// Nothing was sent yet, so that trying again repeats nothing.
		if conn, err = c.revive(err); err != nil {
			return nil, err
		}
	}
	if err != nil {
		return nil, err
	}
	if err := conn.Write(body, files...); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return conn, nil
}

// revive starts a monitor in place of one that is gone. It adopts what that one left.
func (c *Client) revive(cause error) (*Conn, error) {
	c.reviving.Lock()
	defer c.reviving.Unlock()
	if err := begin(*c.options); err != nil {
		return nil, errors.Join(cause, err)
	}
	return Dial(c.socket)
}

func receive(ctx context.Context, conn *Conn, result any) ([]int, error) {
	body, files, err := conn.Read()
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	var resp Response
	if err := json.Unmarshal(body, &resp); err != nil {
		return files, fmt.Errorf("decode answer: %w", err)
	}
	if resp.Error != "" {
		return files, &remoteError{text: resp.Error, kind: kindOf(resp.Kind)}
	}
	if result != nil && len(resp.Result) > 0 {
		if err := json.Unmarshal(resp.Result, result); err != nil {
			return files, fmt.Errorf("decode answer: %w", err)
		}
	}
	return files, nil
}

// remoteError keeps the monitor's words and the kind they wrap.
type remoteError struct {
	text string
	kind error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.kind }

var kinds = []error{ErrNotFound, ErrExists, ErrState, ErrInvalid, ErrUnsupported}

func kindOf(text string) error {
	for _, k := range kinds {
		if k.Error() == text {
			return k
		}
	}
	return nil
}

// KindText is the wire form of the kind that err wraps, or empty.
func KindText(err error) string {
	for _, k := range kinds {
		if errors.Is(err, k) {
			return k.Error()
		}
	}
	return ""
}

// Ping asks whether a monitor answers.
func (c *Client) Ping(ctx context.Context) error { return c.call(ctx, &Request{Op: OpPing}, nil) }

// Create makes the container and leaves it before its program runs. The process id is the init's, in the monitor's own
// PID namespace.
func (c *Client) Create(ctx context.Context, r CreateRequest) (pid int, err error) {
	err = c.call(ctx, &Request{Op: OpCreate, ID: r.ID, Create: &r}, &pid)
	return pid, err
}

// Start lets a created container's program run, and returns when it runs.
func (c *Client) Start(ctx context.Context, id string) (startedAt time.Time, err error) {
	err = c.call(ctx, &Request{Op: OpStart, ID: id}, &startedAt)
	return startedAt, err
}

// Kill sends a signal to the container's first process, or with all to every process in its cgroup.
func (c *Client) Kill(ctx context.Context, id string, sig syscall.Signal, all bool) error {
	return c.call(ctx, &Request{Op: OpKill, ID: id, Signal: int(sig), All: all}, nil)
}

// Pause freezes all processes.
func (c *Client) Pause(ctx context.Context, id string) error {
	return c.call(ctx, &Request{Op: OpPause, ID: id}, nil)
}

// Resume thaws them.
func (c *Client) Resume(ctx context.Context, id string) error {
	return c.call(ctx, &Request{Op: OpResume, ID: id}, nil)
}

// Update changes the cgroup's limits; nil fields stay as they are.
func (c *Client) Update(ctx context.Context, id string, r *specs.LinuxResources) error {
	return c.call(ctx, &Request{Op: OpUpdate, ID: id, Resources: r}, nil)
}

// Delete forgets a stopped container and takes down its cgroup; with force it kills it first. The log stays.
// ErrNotFound says that it is gone, be it by this very request, whose first answer a dying monitor took along.
func (c *Client) Delete(ctx context.Context, id string, force bool) (st ExitStatus, err error) {
	err = c.call(ctx, &Request{Op: OpDelete, ID: id, Force: force}, &st)
	return st, err
}

// State tells one container's state.
func (c *Client) State(ctx context.Context, id string) (st State, err error) {
	err = c.call(ctx, &Request{Op: OpState, ID: id}, &st)
	return st, err
}

// List tells all containers' states, ordered by id, those included that others have asked for before.
func (c *Client) List(ctx context.Context) (all []State, err error) {
	err = c.call(ctx, &Request{Op: OpList}, &all)
	return all, err
}

// Wait returns when the container has stopped.
func (c *Client) Wait(ctx context.Context, id string) (st ExitStatus, err error) {
	err = c.call(ctx, &Request{Op: OpWait, ID: id}, &st)
	return st, err
}

// Exec starts a process in a running container.
func (c *Client) Exec(ctx context.Context, r ExecRequest) (pid int, err error) {
	req := &Request{Op: OpExec, ID: r.ID, ExecID: r.ExecID, Exec: &r}
	var files []int
	for _, f := range []struct {
		name string
		file File
	}{{"stdin", r.Stdin}, {"stdout", r.Stdout}, {"stderr", r.Stderr}} {
		if f.file == nil {
			continue
		}
		if p, ok := f.file.(*os.File); ok && p == nil {
			continue
		}
		req.Streams, files = append(req.Streams, f.name), append(files, int(f.file.Fd()))
	}
	err = c.call(ctx, req, &pid, files...)
	runtime.KeepAlive(r)
	return pid, err
}

// WaitExec returns when the process of Exec has ended. Its status is kept until the container is deleted or many later ones have
// ended.
func (c *Client) WaitExec(ctx context.Context, id, execID string) (st ExitStatus, err error) {
	err = c.call(ctx, &Request{Op: OpWaitExec, ID: id, ExecID: execID}, &st)
	return st, err
}

// ResizeExec sets the terminal's size of an exec, in columns and rows.
func (c *Client) ResizeExec(ctx context.Context, id, execID string, w, h uint16) error {
	return c.call(ctx, &Request{Op: OpResizeExec, ID: id, ExecID: execID, Size: [2]uint16{w, h}}, nil)
}

// KillExec sends a signal to the process of an Exec.
func (c *Client) KillExec(ctx context.Context, id, execID string, sig syscall.Signal) error {
	return c.call(ctx, &Request{Op: OpKillExec, ID: id, ExecID: execID, Signal: int(sig)}, nil)
}

// Resize sets the container's terminal size, in columns and rows.
func (c *Client) Resize(ctx context.Context, id string, w, h uint16) error {
	return c.call(ctx, &Request{Op: OpResize, ID: id, Size: [2]uint16{w, h}}, nil)
}

// CloseStdin ends the container's standard input.
func (c *Client) CloseStdin(ctx context.Context, id string) error {
	return c.call(ctx, &Request{Op: OpCloseStdin, ID: id}, nil)
}

// ReopenLog closes and opens the log file, for a rotation from outside.
func (c *Client) ReopenLog(ctx context.Context, id string) error {
	return c.call(ctx, &Request{Op: OpReopenLog, ID: id}, nil)
}

// LogPath moves the log to a new file from the next line on.
func (c *Client) LogPath(ctx context.Context, id, path string) error {
	return c.call(ctx, &Request{Op: OpLogPath, ID: id, Path: path}, nil)
}

// Stats reads the container's cgroup.
func (c *Client) Stats(ctx context.Context, id string) (st Stats, err error) {
	err = c.call(ctx, &Request{Op: OpStats, ID: id}, &st)
	return st, err
}

// Shutdown ends the monitor. Containers go on running; a later monitor adopts them, without their exit codes where the
// kernel does not tell those of processes that are not children.
func (c *Client) Shutdown(ctx context.Context) error {
	return c.call(ctx, &Request{Op: OpShutdown}, nil)
}

// AttachStreams are the wanted streams of a container; those not asked for are nil. Closing Stdin ends the container's
// standard input only where the container was made with StdinOnce.
type AttachStreams struct {
	Stdin          *os.File
	Stdout, Stderr *os.File
}

// Close detaches. The container goes on.
func (a *AttachStreams) Close() error {
	var errs []error
	for _, f := range []*os.File{a.Stdin, a.Stdout, a.Stderr} {
		if f != nil {
			if err := f.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// Attach joins the container's streams, from now on. A reader that does not keep up loses output rather than stopping the
// container or its log.
func (c *Client) Attach(ctx context.Context, id string, o AttachOptions) (*AttachStreams, error) {
	conn, err := c.send(ctx, &Request{Op: OpAttach, ID: id, Attach: &o})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	var names []string
	files, err := receive(ctx, conn, &names)
	if err != nil || len(files) != len(names) {
		for _, fd := range files {
			_ = unix.Close(fd)
		}
		if err == nil {
			err = fmt.Errorf("attach %s: %d streams named, %d passed", id, len(names), len(files))
		}
		return nil, err
	}
	streams := &AttachStreams{}
	for i, name := range names {
		_ = unix.SetNonblock(files[i], true)
		f := os.NewFile(uintptr(files[i]), name)
		switch name {
		case "stdin":
			streams.Stdin = f
		case "stdout":
			streams.Stdout = f
		default:
			streams.Stderr = f
		}
	}
	return streams, nil
}

// Events tells what happened after the event numbered since (0: from the journal's beginning), then what happens, until
// ctx ends or the monitor goes away, when the channel is closed: call again with the last number seen.
func (c *Client) Events(ctx context.Context, since uint64) (<-chan Event, error) {
	conn, err := c.send(ctx, &Request{Op: OpEvents, Since: since})
	if err != nil {
		return nil, err
	}
	if _, err := receive(ctx, conn, nil); err != nil {
		_ = conn.Close()
		return nil, err
	}
	events := make(chan Event, 64)
	go func() {
		defer close(events)
		defer conn.Close()
		stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
		defer stop()
		for {
			var batch []Event
			if _, err := receive(ctx, conn, &batch); err != nil {
				return
			}
			for _, e := range batch {
				select {
				case events <- e:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return events, nil
}
