package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"sync"
	"syscall"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"nau/internal/kernel"
	"nau/internal/oci/monitor"
)

// container is one container in the monitor's care.
type container struct {
	server  *Server
	id      string
	request monitor.CreateRequest
	streams *streams
	backend backend
	exited  chan struct{} // closed when the exit is known, the output read and the event written

	op       sync.Mutex // one of start, delete, pause, … at a time
	starting sync.Mutex // held by start, so that an end is not told before the beginning

	mu      sync.Mutex
	made    bool // Create has succeeded
	deleted bool
	pid     int
	process *kernel.Process
	created time.Time
	started time.Time
	paused  bool
	oom     bool
	exit    *monitor.ExitStatus
	execs   map[string]*execution
	past    []string // of execs, those that have ended, in that order
	unkeep  func()
}

// kept is what a container's request.json holds.
type kept struct {
	Request monitor.CreateRequest `json:"request"`
	Pid     int                   `json:"pid"` // 0: it is being made
	Created time.Time             `json:"created"`
	Started time.Time             `json:"started"`
}

const (
	requestFile = "request.json"
	exitFile    = "exit.json"
)

// create makes a container.
func (s *Server) create(req monitor.CreateRequest) (pid int, err error) {
	if !filepath.IsAbs(req.Bundle) {
		return 0, fmt.Errorf("create container %s: %w: bundle %q is not absolute", req.ID, monitor.ErrInvalid, req.Bundle)
	}
	c := &container{server: s, id: req.ID, request: req, exited: make(chan struct{}), execs: map[string]*execution{}}
	if c.backend, err = s.backend(req); err != nil {
		return 0, fmt.Errorf("create container %s: %w", req.ID, err)
	}
	c.op.Lock() // before anybody finds it
	defer c.op.Unlock()
	s.mu.Lock()
	if s.containers[req.ID] != nil {
		s.mu.Unlock()
		return 0, fmt.Errorf("create container %s: %w", req.ID, monitor.ErrExists)
	}
	s.containers[req.ID] = c
	s.mu.Unlock()
	defer func() {
		if err != nil {
			c.forget()
		}
	}()
	return c.create()
}

func (c *container) create() (pid int, err error) {
	dir := c.server.dir(c.id)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return 0, fmt.Errorf("make container folder: %w", err)
	}
	if c.streams, err = newStreams(c.request.Log, c.request.StdinOnce); err != nil {
		return 0, err
	}
	e := &ends{[3]int{-1, -1, -1}}
	if !c.request.Terminal {
		if e, err = makeFifos(dir, c.request.OpenStdin); err != nil {
			return 0, err
		}
		defer e.close()
	}
	if c.request.Runtime != "" {
		// The built-in runtime has a record of its own by which a create that is cut off can be undone.
		if err := c.keep(); err != nil {
			return 0, err
		}
	}
	p, err := c.backend.create(c, e)
	if err != nil {
		return 0, err
	}
	c.mu.Lock()
	c.pid, c.process, c.unkeep = p.process.Pid, p.process, p.unkeep
	c.mu.Unlock()
	if p.console >= 0 {
		err = c.streams.useTerminal(p.console)
	} else {
		err = c.streams.openFifos(dir, c.request.OpenStdin)
	}
	if err == nil {
		c.mu.Lock()
		c.created, c.made = time.Now().UTC(), true
		c.mu.Unlock()
		err = c.keep()
	}
	if err != nil {
		return 0, errors.Join(err, c.backend.remove(c, true))
	}
	c.tell(monitor.Event{Type: monitor.EventCreated, Pid: c.pid})
	go c.watch()
	return c.pid, nil
}

// keep writes what a later monitor needs.
func (c *container) keep() error {
	c.mu.Lock()
	k := kept{Request: c.request, Pid: c.pid, Created: c.created, Started: c.started}
	c.mu.Unlock()
	return writeJSON(filepath.Join(c.server.dir(c.id), requestFile), &k)
}

func writeJSON(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	// Whole or not at all; not synced, as it lies on a tmpfs and is worth nothing after a reboot.
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return os.Rename(path+".new", path)
}

// forget takes the container out of the monitor's memory and folder.
func (c *container) forget() {
	c.mu.Lock()
	c.deleted = true
	process, unkeep := c.process, c.unkeep
	c.unkeep = nil
	c.mu.Unlock()
	if c.streams != nil {
		c.streams.close()
	}
	if process != nil {
		_ = process.Close()
	}
	if unkeep != nil {
		unkeep()
	}
	_ = os.RemoveAll(c.server.dir(c.id))
	c.server.mu.Lock()
	if c.server.containers[c.id] == c {
		delete(c.server.containers, c.id)
	}
	c.server.mu.Unlock()
}

func (c *container) tell(e monitor.Event) {
	e.ID = c.id
	if err := c.server.journal.add(e); err != nil {
		c.server.cfg.Log.Error("write event", "id", c.id, "type", e.Type, "error", err)
	}
}

// watch waits for the container's end.
func (c *container) watch() {
	endWatch := c.beginWatch()
	status, known, err := c.process.Wait()
	endWatch()
	if err != nil {
		select {
		case <-c.exited:
			return
		default:
		}
		c.mu.Lock()
		deleted := c.deleted
		c.mu.Unlock()
		if deleted {
			return
		}
		c.server.cfg.Log.Error("wait for container", "id", c.id, "error", err)
	}
	exit := exitStatus(status, known)
	if c.backend.oomKills(c) > 0 {
		exit.OOMKilled = true
		c.mu.Lock()
		told := c.oom
		c.mu.Unlock()
		if !told {
			c.tell(monitor.Event{Type: monitor.EventOOM, Pid: c.pid})
		}
	}
	// What the processes wrote is in the pipes: those of a PID namespace have all ended before its first.
	patience := 50 * time.Millisecond
	if c.backend.alone(c) {
		patience = 5 * time.Second
	}
	c.streams.drained(patience)
	c.finish(exit)
}

func exitStatus(status syscall.WaitStatus, known bool) monitor.ExitStatus {
	exit := monitor.ExitStatus{Code: monitor.UnknownExit, Finished: time.Now().UTC()}
	switch {
	case !known:
	case status.Signaled():
		exit.Signal = int(status.Signal())
		exit.Code = 128 + exit.Signal
	default:
		exit.Code = status.ExitStatus()
	}
	return exit
}

// finish records the end and tells it.
func (c *container) finish(exit monitor.ExitStatus) {
	c.starting.Lock()
	defer c.starting.Unlock()
	if err := writeJSON(filepath.Join(c.server.dir(c.id), exitFile), &exit); err != nil && !errors.Is(err, os.ErrNotExist) {
		c.server.cfg.Log.Error("keep exit status", "id", c.id, "error", err)
	}
	c.mu.Lock()
	c.exit = &exit
	pid, unkeep := c.pid, c.unkeep
	c.unkeep = nil
	c.mu.Unlock()
	if unkeep != nil {
		unkeep()
	}
	c.tell(monitor.Event{Type: monitor.EventExited, Pid: pid, ExitCode: exit.Code, OOMKilled: exit.OOMKilled, Time: exit.Finished})
	close(c.exited)
}

func (c *container) ready() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.made && !c.deleted
}

// state is what is known now; without a status while it is being made.
func (c *container) state() monitor.State {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := monitor.State{ID: c.id, Bundle: c.request.Bundle, Created: c.created, Started: c.started}
	if !c.made || c.deleted {
		return st
	}
	st.LogPath = c.streams.log.Path()
	switch {
	case c.exit != nil:
		st.Status, st.Finished, st.ExitCode, st.Signal, st.OOMKilled = monitor.Stopped, c.exit.Finished, c.exit.Code, c.exit.Signal, c.exit.OOMKilled
	case c.started.IsZero():
		st.Status, st.Pid = monitor.Created, c.pid
	case c.paused:
		st.Status, st.Pid = monitor.Paused, c.pid
	default:
		st.Status, st.Pid = monitor.Running, c.pid
	}
	for id, e := range c.execs {
		if e.running() {
			st.Execs = append(st.Execs, id)
		}
	}
	sort.Strings(st.Execs)
	return st
}

// expect fails unless the container is in one of the statuses.
func (c *container) expect(verb string, want ...monitor.Status) error {
	now := c.state().Status
	for _, w := range want {
		if now == w {
			return nil
		}
	}
	if now == "" {
		return fmt.Errorf("%s container %s: %w", verb, c.id, monitor.ErrNotFound)
	}
	return fmt.Errorf("%s container %s: it is %s: %w", verb, c.id, now, monitor.ErrState)
}

func (c *container) start() (time.Time, error) {
	c.op.Lock()
	defer c.op.Unlock()
	if err := c.expect("start", monitor.Created); err != nil {
		return time.Time{}, err
	}
	c.starting.Lock()
	defer c.starting.Unlock()
	if err := c.backend.start(c); err != nil {
		return time.Time{}, err
	}
	now := time.Now().UTC()
	c.mu.Lock()
	c.started = now
	pid := c.pid
	c.mu.Unlock()
	if err := c.keep(); err != nil {
		c.server.cfg.Log.Error("keep container", "id", c.id, "error", err)
	}
	c.tell(monitor.Event{Type: monitor.EventStarted, Pid: pid, Time: now})
	return now, nil
}

func (c *container) kill(sig syscall.Signal, all bool) error {
	if err := c.expect("kill", monitor.Created, monitor.Running, monitor.Paused, monitor.Stopped); err != nil {
		return err
	}
	if st := c.state(); st.Status == monitor.Stopped && !all {
		return fmt.Errorf("kill container %s: it is stopped: %w", c.id, monitor.ErrState)
	}
	return c.backend.kill(c, sig, all)
}

func (c *container) pause(on bool) error {
	c.op.Lock()
	defer c.op.Unlock()
	verb, want, event := "resume", monitor.Paused, monitor.EventResumed
	if on {
		verb, want, event = "pause", monitor.Running, monitor.EventPaused
	}
	if err := c.expect(verb, want); err != nil {
		return err
	}
	if err := c.backend.pause(c, on); err != nil {
		return err
	}
	c.mu.Lock()
	c.paused = on
	c.mu.Unlock()
	c.tell(monitor.Event{Type: event})
	return nil
}

func (c *container) update(r *specs.LinuxResources) error {
	if r == nil {
		return fmt.Errorf("update container %s: %w: no limits are given", c.id, monitor.ErrInvalid)
	}
	c.op.Lock()
	defer c.op.Unlock()
	if err := c.expect("update", monitor.Created, monitor.Running, monitor.Paused); err != nil {
		return err
	}
	return c.backend.update(c, r)
}

func (c *container) stats() (monitor.Stats, error) {
	if err := c.expect("read", monitor.Created, monitor.Running, monitor.Paused, monitor.Stopped); err != nil {
		return monitor.Stats{}, err
	}
	return c.backend.stats(c)
}

func (c *container) wait(ctx context.Context) (monitor.ExitStatus, error) {
	select {
	case <-c.exited:
		c.mu.Lock()
		defer c.mu.Unlock()
		return *c.exit, nil
	case <-ctx.Done():
		return monitor.ExitStatus{}, ctx.Err()
	}
}

func (c *container) delete(force bool) (monitor.ExitStatus, error) {
	c.op.Lock()
	defer c.op.Unlock()
	st := c.state()
	switch st.Status {
	case "":
		return monitor.ExitStatus{}, fmt.Errorf("delete container %s: %w", c.id, monitor.ErrNotFound)
	case monitor.Stopped:
	default:
		if !force && st.Status != monitor.Created {
			return monitor.ExitStatus{}, fmt.Errorf("delete container %s: it is %s: %w", c.id, st.Status, monitor.ErrState)
		}
		if err := c.backend.kill(c, unix.SIGKILL, true); err != nil && !errors.Is(translate(err), monitor.ErrState) {
			return monitor.ExitStatus{}, err
		}
		select {
		case <-c.exited:
		case <-time.After(30 * time.Second):
			return monitor.ExitStatus{}, fmt.Errorf("delete container %s: it has not ended 30 s after SIGKILL", c.id)
		}
	}
	if err := c.backend.remove(c, force); err != nil {
		return monitor.ExitStatus{}, err
	}
	c.mu.Lock()
	exit := *c.exit
	execs := c.execs
	c.mu.Unlock()
	for _, e := range execs {
		e.close()
	}
	c.forget()
	c.tell(monitor.Event{Type: monitor.EventDeleted})
	return exit, nil
}

func (c *container) resize(size [2]uint16) error {
	c.streams.mu.Lock()
	defer c.streams.mu.Unlock()
	if c.streams.terminal == nil {
		return fmt.Errorf("resize container %s: it has no terminal: %w", c.id, monitor.ErrState)
	}
	return setSize(c.streams.terminal, size)
}

func setSize(terminal *os.File, size [2]uint16) error {
	raw, err := terminal.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	if err := raw.Control(func(fd uintptr) {
		set = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Col: size[0], Row: size[1]})
	}); err != nil {
		return err
	}
	return set
}

func (c *container) moveLog(path string) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("move log of container %s: %w: %q is not absolute", c.id, monitor.ErrInvalid, path)
	}
	if err := c.streams.log.Move(path); err != nil {
		return err
	}
	c.mu.Lock()
	c.request.Log.Path = path
	c.mu.Unlock()
	return c.keep()
}
