package oci

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"nau/internal/kernel"
	"nau/internal/kernel/child"
	"nau/internal/oci/cgroup"
	"nau/internal/oci/monitor"
)

// Start lets the container's program run. It returns when the program is executed, or with the reason why not, in which
// case the process has ended.
func (c *Container) Start() error {
	id := c.record.ID
	dir := c.runtime.dir(id)
	go_, err := unix.Open(filepath.Join(dir, startFifo), unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	switch err {
	case nil:
	case unix.ENOENT:
		return fmt.Errorf("start container %s: it is %s: %w", id, c.Status(), ErrState)
	case unix.ENXIO: // nobody waits
		return fmt.Errorf("start container %s: its process has ended: %w", id, ErrState)
	default:
		return fmt.Errorf("start container %s: %w", id, err)
	}
	defer unix.Close(go_)
	report, err := unix.Open(filepath.Join(dir, execFifo), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return fmt.Errorf("start container %s: %w", id, err)
	}
	defer unix.Close(report)
	// Whoever removes the FIFO starts the container: of two that try, one.
	if err := os.Remove(filepath.Join(dir, startFifo)); err != nil {
		return fmt.Errorf("start container %s: %w: %w", id, ErrState, err)
	}
	if c.spec.Process == nil {
		_ = unix.Kill(c.record.Pid, unix.SIGKILL)
		return fmt.Errorf("start container %s: %w: its configuration has no process", id, ErrInvalid)
	}
	if h := c.spec.Hooks; h != nil && len(h.StartContainer) > 0 {
		if err := c.hooksInside(h.StartContainer); err != nil {
			_ = unix.Kill(c.record.Pid, unix.SIGKILL)
			return fmt.Errorf("start container %s: %w", id, err)
		}
	}
	if _, err := unix.Write(go_, []byte{1}); err != nil {
		return fmt.Errorf("start container %s: %w", id, err)
	}
	_ = unix.SetNonblock(report, false)
	// The process holds the other end until it is executed, or dies.
	_, err = child.NextOf(fdReader(report), c.record.Steps)
	_ = os.Remove(filepath.Join(dir, execFifo))
	if err != nil && !errors.Is(err, child.ErrEnded) {
		return fmt.Errorf("start container %s: %w", id, startError(err, c.spec.Process))
	}
	if h := c.spec.Hooks; h != nil {
		// A hook that fails is told of and changes nothing: runtime specification, lifecycle, step 9.
		if err := runHooks("poststart", h.Poststart, c.State()); err != nil {
			c.runtime.warn("%v", err)
		}
	}
	return nil
}

// startError words a failed execution as engines expect it.
func startError(err error, p *specs.Process) error {
	var step *child.StepError
	if errors.As(err, &step) && len(step.Step) > 5 && step.Step[:5] == "exec " && p != nil && len(p.Args) > 0 {
		if step.Errno == unix.ENOENT && !strings.Contains(p.Args[0], "/") {
			return &ProgramError{Program: p.Args[0], Err: errNotInPath}
		}
		return &ProgramError{Program: p.Args[0], Err: step.Errno}
	}
	return err
}

// hooksInside runs hooks in all namespaces of the container but the user namespace.
func (c *Container) hooksInside(hooks []specs.Hook) error {
	pidfd, err := c.open()
	if err != nil {
		return err
	}
	defer unix.Close(pidfd)
	root, err := c.openRoot()
	if err != nil {
		return err
	}
	defer kernel.Close(root)
	state := c.State()
	return kernel.OnThread(func() error {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return err
		}
		if err := unix.Setns(pidfd, unix.CLONE_NEWNS|unix.CLONE_NEWNET|unix.CLONE_NEWIPC|unix.CLONE_NEWUTS|unix.CLONE_NEWPID); err != nil {
			return fmt.Errorf("join the container's namespaces: %w", err)
		}
		if err := enterRoot(root); err != nil {
			return err
		}
		return runHooks("startContainer", hooks, state)
	})
}

// open takes hold of the first process, proven to be the one of the record.
func (c *Container) open() (int, error) {
	if c.record.Pid <= 0 {
		return -1, fmt.Errorf("container %s: it has no process: %w", c.record.ID, ErrState)
	}
	fd, err := unix.PidfdOpen(c.record.Pid, 0)
	if err != nil || !c.alive() {
		kernel.Close(fd)
		return -1, fmt.Errorf("container %s: its process has ended: %w", c.record.ID, ErrState)
	}
	return fd, nil
}

// Signal sends a signal to the first process.
func (c *Container) Signal(sig syscall.Signal) error {
	fd, err := c.open()
	if err != nil {
		return fmt.Errorf("signal %w", err)
	}
	defer unix.Close(fd)
	if err := c.send(fd, sig); err != nil {
		return err
	}
	if sig == unix.SIGKILL {
		// A frozen process does not die on version 1.
		if cg, err := c.cgroup(); err == nil && cg.Frozen() {
			_ = cg.Thaw()
		}
	}
	return nil
}

// send signals a process that open has found; it may have ended, and its parent may have heard of it, since then.
func (c *Container) send(pidfd int, sig syscall.Signal) error {
	err := unix.PidfdSendSignal(pidfd, sig, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("signal container %s: its process has ended: %w", c.record.ID, ErrState)
	}
	if err != nil {
		return fmt.Errorf("signal container %s: %w", c.record.ID, err)
	}
	return nil
}

// SignalAll sends a signal to every process in the container's cgroup.
func (c *Container) SignalAll(sig syscall.Signal) error {
	cg, err := c.cgroup()
	if err != nil {
		return err
	}
	if !cg.Exists() {
		return nil
	}
	if err := cg.Signal(sig); err != nil {
		return fmt.Errorf("signal container %s: %w", c.record.ID, err)
	}
	if sig == unix.SIGKILL && cg.Frozen() {
		return cg.Thaw()
	}
	return nil
}

// OwnsPIDs tells whether the container has a PID namespace of its own, so that its processes end with the first.
func (c *Container) OwnsPIDs() bool {
	if c.spec.Linux == nil {
		return false
	}
	for _, ns := range c.spec.Linux.Namespaces {
		if ns.Type == specs.PIDNamespace && ns.Path == "" {
			return true
		}
	}
	return false
}

// Delete removes a stopped container; with force a living one is killed first.
func (c *Container) Delete(force bool) error {
	id := c.record.ID
	if c.alive() {
		status := c.Status()
		if !force && status != StatusCreated {
			return fmt.Errorf("delete container %s: it is %s: %w", id, status, ErrState)
		}
		if err := c.Signal(unix.SIGKILL); err != nil && !errors.Is(err, ErrState) {
			return err
		}
		c.awaitEnd()
	}
	cg, err := c.cgroup()
	if err != nil {
		return err
	}
	if cg.Exists() {
		if !c.OwnsPIDs() {
			// Other processes of the container outlive the first.
			if err := cg.Signal(unix.SIGKILL); err != nil {
				return fmt.Errorf("delete container %s: %w", id, err)
			}
		}
		if err := cg.Remove(); err != nil {
			return fmt.Errorf("delete container %s: %w", id, err)
		}
	}
	if err := c.runtime.unmountRoot(id); err != nil {
		return fmt.Errorf("delete container %s: %w", id, err)
	}
	state := c.State()
	if err := os.RemoveAll(c.runtime.dir(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete container %s: %w", id, err)
	}
	if h := c.spec.Hooks; h != nil {
		if err := runHooks("poststop", h.Poststop, state); err != nil {
			c.runtime.warn("%v", err)
		}
	}
	return nil
}

// awaitEnd waits a while for the first process to be gone or a zombie.
func (c *Container) awaitEnd() {
	fd, err := unix.PidfdOpen(c.record.Pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	deadline := time.Now().Add(10 * time.Second)
	for c.alive() && time.Now().Before(deadline) {
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 100)
	}
}

// Pause freezes the container's processes.
func (c *Container) Pause() error {
	if s := c.Status(); s != StatusRunning && s != StatusCreated {
		return fmt.Errorf("pause container %s: it is %s: %w", c.record.ID, s, ErrState)
	}
	cg, err := c.cgroup()
	if err != nil {
		return err
	}
	return cg.Freeze()
}

// Resume thaws them.
func (c *Container) Resume() error {
	if s := c.Status(); s != StatusPaused {
		return fmt.Errorf("resume container %s: it is %s: %w", c.record.ID, s, ErrState)
	}
	cg, err := c.cgroup()
	if err != nil {
		return err
	}
	return cg.Thaw()
}

// Update changes limits.
func (c *Container) Update(r *specs.LinuxResources) error {
	if c.Status() == StatusStopped {
		return fmt.Errorf("update container %s: it is stopped: %w", c.record.ID, ErrState)
	}
	cg, err := c.cgroup()
	if err != nil {
		return err
	}
	lost, err := cg.Apply(r, false)
	c.runtime.warnLost(lost)
	return err
}

// Stats reads the container's cgroup.
func (c *Container) Stats() (monitor.Stats, error) {
	cg, err := c.cgroup()
	if err != nil {
		return monitor.Stats{}, err
	}
	return cg.Stats(), nil
}

// OOMKills counts processes killed for want of memory.
func (c *Container) OOMKills() uint64 {
	cg, err := c.cgroup()
	if err != nil {
		return 0
	}
	return cg.OOMKills()
}

// Processes lists the numbers of the container's processes.
func (c *Container) Processes() ([]int, error) {
	cg, err := c.cgroup()
	if err != nil {
		return nil, err
	}
	return cg.Processes()
}

// pidString is for paths below /proc.
func pidString(pid int) string { return strconv.Itoa(pid) }

// Discard removes what a Create that was cut off before there was a record may have left under a name: processes, which have lost
// their maker and end, the cgroup, mounts and the folder. A name that is not there is fine.
func (r *Runtime) Discard(id string) error {
	if err := CheckID(id); err != nil {
		return err
	}
	raw, err := os.ReadFile(filepath.Join(r.dir(id), configFile))
	if err == nil {
		err = discardCgroup(raw, id)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrInvalid) { // a configuration that was cut off: nothing had begun
		return fmt.Errorf("discard container %s: %w", id, err)
	}
	if err := r.unmountRoot(id); err != nil {
		return fmt.Errorf("discard container %s: %w", id, err)
	}
	if err := os.RemoveAll(r.dir(id)); err != nil {
		return fmt.Errorf("discard container %s: %w", id, err)
	}
	return nil
}

func discardCgroup(raw []byte, id string) error {
	spec, err := DecodeSpec(raw)
	if err != nil {
		return err
	}
	cg, err := cgroup.Open(cgroupPath(spec, id))
	if err != nil {
		return err
	}
	if err := cg.Signal(unix.SIGKILL); err != nil {
		return err
	}
	return cg.Remove()
}

// WatchOOM is the cgroup's watch, for a container that has a limit of memory; else nil.
func (c *Container) WatchOOM() (*os.File, error) {
	l := c.spec.Linux
	if l == nil || l.Resources == nil || l.Resources.Memory == nil || l.Resources.Memory.Limit == nil || *l.Resources.Memory.Limit <= 0 {
		return nil, nil
	}
	cg, err := c.cgroup()
	if err != nil {
		return nil, err
	}
	return cg.WatchOOM()
}
