package docker

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	dc "github.com/moby/moby/api/types/container"
	de "github.com/moby/moby/api/types/events"

	"nau/internal/engine/container"
	"nau/internal/engine/record"
)

// execs are the processes that clients asked for in running containers. They live as long as their container's run, and a while.
type execs struct {
	mu  sync.Mutex
	all map[string]*exec
}

type exec struct {
	id, container string
	run           int // of the container: an exec that was not started ends with it
	req           dc.ExecCreateRequest
	keys          []byte
	resize        chan container.Size

	mu      sync.Mutex
	started bool
	running bool
	pid     int
	code    *int
}

// kept is how many finished execs are remembered for their exit codes.
const kept = 1024

func (x *execs) add(e *exec) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.all == nil {
		x.all = map[string]*exec{}
	}
	if len(x.all) >= kept {
		for id, old := range x.all {
			old.mu.Lock()
			done := old.started && !old.running
			old.mu.Unlock()
			if done {
				delete(x.all, id)
			}
		}
	}
	x.all[e.id] = e
}

func (x *execs) get(id string) (*exec, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e := x.all[id]; e != nil {
		return e, nil
	}
	return nil, noExec(id)
}

func noExec(id string) error { return notFound("No such exec instance: %s", id) }

// of lists the running execs of a container; nil when there is none, as Docker has it.
func (x *execs) of(id string) []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	var out []string
	for _, e := range x.all {
		if e.container == id && e.running {
			out = append(out, e.id)
		}
	}
	slices.Sort(out)
	return out
}

// createExec answers POST /containers/{id}/exec.
func (s *Server) createExec(c *call) error {
	r, err := s.byID(c)
	if err != nil {
		return err
	}
	var req dc.ExecCreateRequest
	if err := readJSON(c.Request, &req); err != nil {
		return err
	}
	if len(req.Cmd) == 0 {
		return badRequest("No exec command specified")
	}
	switch {
	case r.State == container.Paused:
		return conflict("Container %s is paused, unpause the container before exec", c.vars["id"])
	case !running(r):
		return conflict("container %s is not running", r.ID)
	}
	e := &exec{id: record.NewID(), container: r.ID, run: r.Starts, req: req, resize: make(chan container.Size, 4)}
	if e.keys, err = parseDetachKeys(req.DetachKeys); err != nil {
		return err
	}
	if err := s.e.Containers.VetExec(r.ID, e.config()); err != nil {
		told, _ := execError(err)
		return told
	}
	s.execs.add(e)
	s.hub.container(execAction("exec_create: ", req.Cmd), r, map[string]string{"execID": e.id})
	return c.json(http.StatusCreated, dc.ExecCreateResponse{ID: e.id})
}

// config is what the engine is told of it.
func (e *exec) config() container.ExecConfig {
	return container.ExecConfig{ID: e.id, Args: e.req.Cmd, Env: e.req.Env, Dir: e.req.WorkingDir, User: e.req.User, Terminal: e.req.Tty, Privileged: e.req.Privileged}
}

// execAction names what happens to an exec with its command, as Docker writes it: the program, a blank, the arguments.
func execAction(what string, cmd []string) de.Action {
	return de.Action(what + cmd[0] + " " + strings.Join(cmd[1:], " "))
}

// startExec answers POST /exec/{id}/start.
func (s *Server) startExec(c *call) error {
	e, err := s.execs.get(c.vars["id"])
	if err != nil {
		return err
	}
	var req dc.ExecStartRequest
	if err := readJSON(c.Request, &req); err != nil {
		return err
	}
	r, err := s.find(e.container)
	if err != nil {
		return err
	}
	if !running(r) || r.Starts != e.run {
		return noExec(e.id)
	}
	if r.State == container.Paused {
		return conflict("Container %s is paused, unpause the container before exec", e.container)
	}
	e.mu.Lock()
	again := e.started
	e.started = true
	e.mu.Unlock()
	if again {
		return conflict("exec %s has already run", e.id)
	}
	cfg := e.config()
	size := e.req.ConsoleSize
	if req.ConsoleSize != nil {
		size = req.ConsoleSize
	}
	if size != nil {
		cfg.Size = container.Size{Height: uint16(size[0]), Width: uint16(size[1])}
	}
	cfg.Resize = e.resize
	started := make(chan struct{})
	cfg.Started = func(pid int) {
		e.mu.Lock()
		e.running, e.pid = true, pid
		e.mu.Unlock()
		s.hub.container(execAction("exec_start: ", e.req.Cmd), r, map[string]string{"execID": e.id})
		close(started)
	}
	result := make(chan error, 1)
	run := func() {
		code, err := s.e.Containers.Exec(context.WithoutCancel(s.life), r.ID, cfg)
		e.mu.Lock()
		if err != nil {
			_, code = execError(err)
		}
		e.running, e.code = false, &code
		e.mu.Unlock()
		result <- err
	}
	if req.Detach {
		go run()
		select {
		case <-started:
			return c.done(http.StatusOK)
		case err := <-result:
			if err != nil {
				told, _ := execError(err)
				return told
			}
			return c.done(http.StatusOK)
		}
	}
	// What could not be run is told on the stream, as Docker does: the client asks for the exit code afterwards.
	in, out, errs := &late{ready: make(chan struct{})}, &late{ready: make(chan struct{})}, &late{ready: make(chan struct{})}
	if e.req.AttachStdin {
		cfg.Stdin = in
	}
	if e.req.AttachStdout {
		cfg.Stdout = out
	}
	if e.req.AttachStderr {
		cfg.Stderr = errs
	}
	go run()
	var early error
	ended := false
	select {
	case <-started:
	case early = <-result:
		ended = true
	}
	conn, reader, err := c.hijack(req.Tty)
	if err != nil {
		return err
	}
	defer conn.Close()
	o, er := multiplex(conn)
	if req.Tty { // what the start says, not the exec, decides how the output is told
		o, er = conn, conn
	}
	detached := make(chan struct{})
	once := sync.OnceFunc(func() { close(detached) })
	out.open(nil, o)
	errs.open(nil, er)
	in.open(&detachable{from: reader, keys: e.keys, gone: once}, nil)
	if early != nil {
		told, _ := execError(early)
		_, _ = io.WriteString(o, told.Error()+"\r\n")
	}
	if !ended {
		select {
		case <-result:
		case <-detached:
			s.hub.container(de.ActionExecDetach, r, map[string]string{"execID": e.id})
			return nil
		}
	}
	closeWrite(conn)
	return nil
}

func (s *Server) inspectExec(c *call) error {
	e, err := s.execs.get(c.vars["id"])
	if err != nil {
		return err
	}
	r, err := s.find(e.container)
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil || !e.started && (!running(r) || r.Starts != e.run) {
		return noExec(e.id)
	}
	return c.json(http.StatusOK, dc.ExecInspectResponse{ID: e.id, Running: e.running, ExitCode: e.code, OpenStdin: e.req.AttachStdin, OpenStdout: e.req.AttachStdout, OpenStderr: e.req.AttachStderr,
		ContainerID: e.container, DetachKeys: []byte{}, Pid: e.pid, CanRemove: e.code != nil,
		ProcessConfig: &dc.ExecProcessConfig{Tty: e.req.Tty, Entrypoint: e.req.Cmd[0], Arguments: e.req.Cmd[1:], Privileged: &e.req.Privileged, User: e.req.User}})
}

func (s *Server) resizeExec(c *call) error {
	size, err := c.size()
	if err != nil {
		return err
	}
	e, err := s.execs.get(c.vars["id"])
	if err != nil {
		return err
	}
	if r, err := s.find(e.container); err != nil || !running(r) {
		return conflict("container %s is not running", e.container)
	}
	wait := time.NewTimer(time.Second)
	defer wait.Stop()
	select {
	case e.resize <- size:
	case <-wait.C:
	}
	return c.done(http.StatusOK)
}
