package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"nau/internal/kernel"
	"nau/internal/oci/monitor"
)

// external drives another OCI runtime by its command line, as runc has it.
type external struct {
	path   string
	root   string
	reaper *reaper
}

// run executes the runtime and tells its complaint if it fails. files are its descriptors 0, 1, 2; -1 is /dev/null, and
// output that is -1 is collected.
func (x *external) run(files [3]int, args ...string) ([]byte, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	log := filepath.Join(x.root, fmt.Sprintf("log-%d-%d", os.Getpid(), time.Now().UnixNano()))
	if err := os.MkdirAll(x.root, 0o700); err != nil {
		_ = w.Close()
		return nil, err
	}
	defer os.Remove(log)
	attr := &os.ProcAttr{Dir: "/", Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, Files: []*os.File{null, w, w}}
	var owned []*os.File
	passed := false
	for i, fd := range files {
		if fd < 0 {
			continue
		}
		own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			_ = w.Close()
			return nil, err
		}
		f := os.NewFile(uintptr(own), "stream")
		owned, attr.Files[i], passed = append(owned, f), f, true
	}
	all := append([]string{filepath.Base(x.path), "--root", x.root, "--log", log, "--log-format", "json"}, args...)
	p, err := os.StartProcess(x.path, all, attr)
	_ = w.Close()
	for _, f := range owned {
		_ = f.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("execute runtime: %w", err)
	}
	defer x.reaper.keep(p.Pid)()
	var out []byte
	if !passed {
		out, _ = io.ReadAll(io.LimitReader(r, 1<<20))
	}
	st, err := p.Wait()
	if err != nil {
		return nil, err
	}
	if !st.Success() {
		return nil, fmt.Errorf("%s %s: %s: %s", filepath.Base(x.path), args[0], st, complaint(log, out))
	}
	return out, nil
}

// complaint is the last error in the runtime's log, or what it printed.
func complaint(log string, out []byte) string {
	b, _ := os.ReadFile(log)
	lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	for i := len(lines) - 1; i >= 0; i-- {
		var entry struct{ Level, Msg string }
		if json.Unmarshal(lines[i], &entry) == nil && entry.Level == "error" {
			return entry.Msg
		}
	}
	return string(bytes.TrimSpace(out))
}

func (x *external) create(c *container, e *ends) (made, error) {
	dir := c.server.dir(c.id)
	pidFile := filepath.Join(dir, "pid")
	args := []string{"create", "--bundle", c.request.Bundle, "--pid-file", pidFile}
	var master <-chan int
	if c.request.Terminal {
		path := filepath.Join(dir, "console")
		var done func()
		var err error
		if master, done, err = consoleSocket(path); err != nil {
			return made{}, err
		}
		defer done()
		args = append(args, "--console-socket", path)
	}
	if _, err := x.run(e.fds, append(args, c.id)...); err != nil {
		return made{}, err
	}
	m, err := x.made(pidFile, master)
	if err != nil {
		_ = x.remove(c, true)
		return made{}, err
	}
	return m, nil
}

func (x *external) made(pidFile string, master <-chan int) (made, error) {
	b, err := os.ReadFile(pidFile)
	if err != nil {
		return made{}, fmt.Errorf("read pid file: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return made{}, fmt.Errorf("read pid file: %w", err)
	}
	p, err := kernel.OpenProcess(pid)
	if err != nil {
		return made{}, err
	}
	m := made{process: p, console: -1, unkeep: x.reaper.keep(pid)}
	if master != nil {
		select {
		case m.console = <-master:
		case <-time.After(10 * time.Second):
		}
		if m.console < 0 {
			m.unkeep()
			_ = p.Close()
			return made{}, errors.New("the runtime passed no terminal")
		}
	}
	return m, nil
}

// consoleSocket listens for the terminal that a runtime sends.
func consoleSocket(path string) (<-chan int, func(), error) {
	// A socket's path is short; the folder's may not be.
	dir, err := kernel.OpenPath(filepath.Dir(path))
	if err != nil {
		return nil, nil, err
	}
	defer unix.Close(dir)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: filepath.Join(kernel.FdPath(dir), filepath.Base(path))}); err != nil {
		_ = unix.Close(fd)
		return nil, nil, fmt.Errorf("listen for terminal: %w", err)
	}
	if err := unix.Listen(fd, 1); err != nil {
		_ = unix.Close(fd)
		return nil, nil, err
	}
	master := make(chan int, 1)
	go func() {
		got := -1
		defer func() { master <- got }()
		conn, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
		if err != nil {
			return
		}
		defer unix.Close(conn)
		oob, name := make([]byte, unix.CmsgSpace(4)), make([]byte, 4096)
		_, n, _, _, err := unix.Recvmsg(conn, name, oob, unix.MSG_CMSG_CLOEXEC)
		if err != nil {
			return
		}
		messages, err := unix.ParseSocketControlMessage(oob[:n])
		if err != nil || len(messages) == 0 {
			return
		}
		if fds, err := unix.ParseUnixRights(&messages[0]); err == nil && len(fds) > 0 {
			got = fds[0]
		}
	}()
	return master, func() {
		_ = unix.Shutdown(fd, unix.SHUT_RDWR) // ends a waiting accept
		_ = unix.Close(fd)
		_ = os.Remove(path)
	}, nil
}

func (x *external) start(c *container) error {
	_, err := x.run([3]int{-1, -1, -1}, "start", c.id)
	return err
}

func (x *external) exec(c *container, req *monitor.ExecRequest, stdio [3]int) (made, error) {
	dir, err := os.MkdirTemp(c.server.dir(c.id), "exec-")
	if err != nil {
		return made{}, err
	}
	defer os.RemoveAll(dir)
	process := *req.Process
	process.Terminal = req.Terminal
	if req.Size[0] > 0 {
		process.ConsoleSize = &specs.Box{Width: uint(req.Size[0]), Height: uint(req.Size[1])}
	}
	if err := writeJSON(filepath.Join(dir, "process.json"), &process); err != nil {
		return made{}, err
	}
	pidFile := filepath.Join(dir, "pid")
	args := []string{"exec", "--process", filepath.Join(dir, "process.json"), "--pid-file", pidFile, "--detach"}
	var master <-chan int
	if req.Terminal {
		path := filepath.Join(dir, "console")
		var done func()
		if master, done, err = consoleSocket(path); err != nil {
			return made{}, err
		}
		defer done()
		args = append(args, "--console-socket", path)
		stdio = [3]int{-1, -1, -1}
	}
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return made{}, err
	}
	defer unix.Close(null)
	for i := range stdio {
		if stdio[i] < 0 && !req.Terminal {
			stdio[i] = null // a detached process keeps them
		}
	}
	if _, err := x.run(stdio, append(args, c.id)...); err != nil {
		return made{}, err
	}
	return x.made(pidFile, master)
}

func (x *external) kill(c *container, sig syscall.Signal, all bool) error {
	if all && sig == unix.SIGKILL && c.state().Status == monitor.Stopped {
		return nil
	}
	_, err := x.run([3]int{-1, -1, -1}, "kill", c.id, strconv.Itoa(int(sig)))
	return err
}

func (x *external) pause(c *container, on bool) error {
	verb := "resume"
	if on {
		verb = "pause"
	}
	_, err := x.run([3]int{-1, -1, -1}, verb, c.id)
	return err
}

func (x *external) update(c *container, r *specs.LinuxResources) error {
	path := filepath.Join(c.server.dir(c.id), "resources.json")
	if err := writeJSON(path, r); err != nil {
		return err
	}
	defer os.Remove(path)
	_, err := x.run([3]int{-1, -1, -1}, "update", "--resources", path, c.id)
	return err
}

func (x *external) stats(c *container) (monitor.Stats, error) {
	cg, err := cgroupOf(c)
	if err != nil {
		return monitor.Stats{}, err
	}
	return cg.Stats(), nil
}

func (x *external) oomKills(c *container) uint64 {
	cg, err := cgroupOf(c)
	if err != nil {
		return 0
	}
	return cg.OOMKills()
}

func (x *external) alone(*container) bool { return false }

func (x *external) remove(c *container, _ bool) error {
	_, err := x.run([3]int{-1, -1, -1}, "delete", "--force", c.id)
	return err
}
