// Package server is the container monitor: the parent of an instance's containers. It holds their standard streams, writes
// their logs, waits for their ends and tells what happened, over the socket whose other end is package monitor.
//
// It decides nothing about what containers should exist; it does what it is asked and remembers. What must survive its
// own crash is on disk (a tmpfs): each container's request and exit, the journal of events, and the streams themselves,
// which are FIFOs that the container holds open in both directions, so that output waits for the next monitor instead of
// breaking. What a crash does lose: standard input and terminals, which only the monitor held, and the exit code of a
// process that ends while no monitor runs, unless whoever asked for it holds the process too (engine/container does, and Linux 6.15 tells it).
//
// Only cmd/nau-oci imports it.
package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"sort"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"nau/internal/oci"
	"nau/internal/oci/monitor"
)

// Config of a monitor.
type Config struct {
	Socket   string
	StateDir string
	Log      *slog.Logger
	// Ready is called when the socket is open.
	Ready func()
}

// Server is a running monitor.
type Server struct {
	cfg     Config
	runtime *oci.Runtime
	journal *journal
	reaper  *reaper
	stop    context.CancelFunc
	rest    *time.Timer // gives memory back when no container has come or gone for a while

	mu         sync.Mutex
	containers map[string]*container // by id; a container is here from Create's begin to Delete's end
}

// What the state folder holds:
//
//	lock                 held by the running monitor
//	journal              one JSON event a line
//	runtime/ID/          the built-in runtime's record (package oci)
//	containers/ID/       request.json, exit.json, and the FIFOs stdin, stdout, stderr

// quiet is how long no container comes or goes before the memory that this took is given back. Until then the collector runs seldom.
const quiet = 2 * time.Second

// Run serves until the context ends or a client asks for shutdown. Containers go on.
func Run(ctx context.Context, cfg Config) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := os.MkdirAll(filepath.Join(cfg.StateDir, "containers"), 0o700); err != nil {
		return fmt.Errorf("make state folder: %w", err)
	}
	lock, err := takeLock(filepath.Join(cfg.StateDir, "lock"))
	if err != nil {
		return err
	}
	defer lock.Close()
	j, err := openJournal(filepath.Join(cfg.StateDir, "journal"))
	if err != nil {
		return err
	}
	defer j.close()
	s := &Server{cfg: cfg, journal: j, stop: cancel, containers: map[string]*container{}, reaper: newReaper(ctx),
		runtime: &oci.Runtime{Root: filepath.Join(cfg.StateDir, "runtime"), Many: true, Warn: func(text string) { cfg.Log.Warn(text) }}}
	s.rest = time.AfterFunc(quiet, debug.FreeOSMemory)
	defer s.rest.Stop()
	if err := s.adopt(); err != nil {
		return err
	}
	listener, err := listen(cfg.Socket)
	if err != nil {
		return err
	}
	defer func() {
		_ = os.Remove(cfg.Socket)
		_ = listener.Close()
	}()
	raw, err := listener.SyscallConn()
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = listener.SetDeadline(time.Unix(1, 0)) })
	if cfg.Ready != nil {
		cfg.Ready()
	}
	for {
		fd := -1
		var accepted error
		err := raw.Read(func(l uintptr) bool {
			fd, _, accepted = unix.Accept4(int(l), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
			return accepted != unix.EAGAIN && accepted != unix.EINTR
		})
		switch {
		case err != nil && ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("accept: %w", err)
		case accepted == unix.EMFILE || accepted == unix.ENFILE:
			cfg.Log.Error("accept connection", "error", accepted)
			time.Sleep(100 * time.Millisecond)
			continue
		case accepted != nil:
			continue
		}
		conn, err := monitor.NewConn(fd)
		if err != nil {
			continue
		}
		go s.serve(ctx, conn)
	}
}

func takeLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock %s: another monitor runs: %w", path, err)
	}
	return f, nil
}

func listen(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
		return nil, fmt.Errorf("make socket folder: %w", err)
	}
	// The lock says that no monitor listens on what is there.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove old socket: %w", err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("make socket: %w", err)
	}
	// Bound under another name and renamed, so that who sees it may connect; root only.
	fresh := path + ".new"
	_ = os.Remove(fresh)
	err = unix.Bind(fd, &unix.SockaddrUnix{Name: fresh})
	if err == nil {
		err = os.Chmod(fresh, 0o600)
	}
	if err == nil {
		err = unix.Listen(fd, 512)
	}
	if err == nil {
		err = os.Rename(fresh, path)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// serve answers one connection's request.
func (s *Server) serve(ctx context.Context, conn *monitor.Conn) {
	defer conn.Close()
	body, files, err := conn.Read()
	if err != nil {
		if !errors.Is(err, io.EOF) {
			s.cfg.Log.Warn("read request", "error", err)
		}
		return
	}
	defer func() {
		for _, fd := range files {
			_ = unix.Close(fd)
		}
	}()
	var req monitor.Request
	if err := json.Unmarshal(body, &req); err != nil {
		s.answer(conn, nil, fmt.Errorf("decode request: %w: %w", monitor.ErrInvalid, err))
		return
	}
	defer func() {
		if p := recover(); p != nil {
			s.cfg.Log.Error("request panicked", "op", req.Op, "id", req.ID, "panic", p)
			s.answer(conn, nil, fmt.Errorf("%s: internal error", req.Op))
		}
	}()
	// A caller that goes away no longer waits.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	switch req.Op {
	case monitor.OpWait, monitor.OpWaitExec, monitor.OpEvents:
		go func() {
			_, _, _ = conn.Read()
			cancel()
		}()
	}
	switch req.Op {
	case monitor.OpEvents:
		s.events(ctx, conn, req.Since)
		return
	case monitor.OpAttach:
		s.attach(conn, &req)
		return
	}
	result, err := s.handle(ctx, &req, files)
	s.answer(conn, result, err)
	if req.Op == monitor.OpShutdown {
		s.stop()
	}
}

// handle does what a request with one answer asks.
func (s *Server) handle(ctx context.Context, req *monitor.Request, files []int) (any, error) {
	switch req.Op {
	case monitor.OpPing, monitor.OpShutdown:
		return nil, nil
	case monitor.OpCreate:
		if req.Create == nil {
			return nil, fmt.Errorf("create: %w: no container is described", monitor.ErrInvalid)
		}
		s.rest.Reset(quiet)
		return s.create(*req.Create)
	case monitor.OpList:
		return s.list(), nil
	}
	c, err := s.find(req.ID)
	if err != nil {
		return nil, err
	}
	switch req.Op {
	case monitor.OpStart:
		return c.start()
	case monitor.OpKill:
		return nil, c.kill(syscall.Signal(req.Signal), req.All)
	case monitor.OpPause:
		return nil, c.pause(true)
	case monitor.OpResume:
		return nil, c.pause(false)
	case monitor.OpUpdate:
		return nil, c.update(req.Resources)
	case monitor.OpDelete:
		s.rest.Reset(quiet)
		return c.delete(req.Force)
	case monitor.OpState:
		return c.state(), nil
	case monitor.OpStats:
		return c.stats()
	case monitor.OpWait:
		return c.wait(ctx)
	case monitor.OpExec:
		return c.exec(req, files)
	case monitor.OpWaitExec:
		return c.waitExec(ctx, req.ExecID)
	case monitor.OpResizeExec:
		return nil, c.resizeExec(req.ExecID, req.Size)
	case monitor.OpKillExec:
		return nil, c.killExec(req.ExecID, syscall.Signal(req.Signal))
	case monitor.OpResize:
		return nil, c.resize(req.Size)
	case monitor.OpCloseStdin:
		return nil, c.streams.closeStdin()
	case monitor.OpReopenLog:
		return nil, c.streams.log.Reopen()
	case monitor.OpLogPath:
		return nil, c.moveLog(req.Path)
	}
	return nil, fmt.Errorf("%w: request %q", monitor.ErrUnsupported, req.Op)
}

func (s *Server) answer(conn *monitor.Conn, result any, err error) {
	resp := monitor.Response{}
	if err != nil {
		resp.Error, resp.Kind = err.Error(), monitor.KindText(translate(err))
	} else if result != nil {
		b, err := json.Marshal(result)
		if err != nil {
			resp.Error = fmt.Sprintf("encode answer: %v", err)
		}
		resp.Result = b
	}
	b, err := json.Marshal(&resp)
	if err != nil {
		return
	}
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	_ = conn.Write(b) // who asked may be gone
}

// translate maps the runtime's kinds of error to the monitor's.
func translate(err error) error {
	for _, m := range []struct{ from, to error }{{oci.ErrNotFound, monitor.ErrNotFound}, {oci.ErrExists, monitor.ErrExists},
		{oci.ErrState, monitor.ErrState}, {oci.ErrInvalid, monitor.ErrInvalid}, {oci.ErrUnsupported, monitor.ErrUnsupported}} {
		if errors.Is(err, m.from) {
			return m.to
		}
	}
	return err
}

func (s *Server) find(id string) (*container, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.containers[id]
	if c == nil {
		return nil, fmt.Errorf("container %s: %w", id, monitor.ErrNotFound)
	}
	return c, nil
}

// list waits for what is being made: who asks may be the successor of one that died while it waited for a create.
func (s *Server) list() []monitor.State {
	s.mu.Lock()
	all := make([]*container, 0, len(s.containers))
	for _, c := range s.containers {
		all = append(all, c)
	}
	s.mu.Unlock()
	sort.Slice(all, func(i, j int) bool { return all[i].id < all[j].id })
	states := make([]monitor.State, 0, len(all))
	for _, c := range all {
		st := c.state()
		if st.Status == "" {
			c.op.Lock()
			st = c.state()
			c.op.Unlock()
		}
		if st.Status != "" {
			states = append(states, st)
		}
	}
	return states
}

func (s *Server) dir(id string) string { return filepath.Join(s.cfg.StateDir, "containers", id) }

// events sends the journal's tail, then what comes.
func (s *Server) events(ctx context.Context, conn *monitor.Conn, since uint64) {
	s.answer(conn, nil, nil)
	_ = conn.SetDeadline(time.Time{}) // the answer's: a quiet stream is a healthy one
	for {
		batch, err := s.journal.after(ctx, since)
		if err != nil {
			return
		}
		since = batch[len(batch)-1].Seq
		b, err := json.Marshal(batch)
		if err != nil {
			return
		}
		b, err = json.Marshal(monitor.Response{Result: b})
		if err != nil {
			return
		}
		if err := conn.Write(b); err != nil {
			return
		}
	}
}
