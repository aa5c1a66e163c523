// Package oci is an OCI runtime as a library: it makes, starts, signals and removes containers as the runtime
// specification 1.3 describes them, on Linux.
//
// How a container begins, and why in this order. Everything of the host's that the container will see is opened first, as
// detached mounts (package rootfs). One clone3 makes the container's first process in its new namespaces, and in its
// cgroup where that is version 2; the process then only walks a list of system calls (package kernel/child) and waits.
// A thread of this program joins the new namespaces by pidfd and builds the root there, with the runtime's own
// credentials, while the process is moved into its cgroups; then the process drops what it must not have and waits for
// Start in front of execve. No second program is executed, no code of this program ever runs inside a container, and
// nothing of the container is trusted on the way.
//
// It is not a supervisor: it keeps no process and holds no stream, see monitor/server. cmd/nau-oci and monitor/server
// may import it.
package oci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Kinds of error.
var (
	ErrNotFound    = errors.New("container does not exist")
	ErrExists      = errors.New("container exists already")
	ErrState       = errors.New("not possible in the container's state")
	ErrInvalid     = errors.New("configuration is invalid")
	ErrUnsupported = errors.New("not supported")
)

// Runtime keeps containers' records below Root, a folder that does not outlive the machine's uptime.
type Runtime struct {
	Root string
	// Many: this program lives long and makes many containers, for which it keeps what serves them all.
	Many bool
	// Warn is told what was left out or tolerated; nil drops it.
	Warn func(message string)
}

func (r *Runtime) warn(format string, args ...any) {
	if r.Warn != nil {
		r.Warn(fmt.Sprintf(format, args...))
	}
}

// warnLost tells of limits that this host's kernel has nothing for.
func (r *Runtime) warnLost(fields []string) {
	for _, f := range fields {
		r.warn("linux.resources.%s is left out: this host's kernel has nothing for it", f)
	}
}

// Status of a container, as the runtime specification names it, and paused.
type Status string

// The statuses.
const (
	StatusCreated Status = "created"
	StatusRunning Status = "running"
	StatusPaused  Status = "paused"
	StatusStopped Status = "stopped"
)

// CreateOptions say what to make.
type CreateOptions struct {
	ID     string
	Bundle string // folder with config.json
	// Stdio are the descriptors that become 0, 1 and 2; -1 is /dev/null. Not used with a terminal.
	Stdio [3]int
	// PreserveFDs are how many descriptors from 3 on the process keeps.
	PreserveFDs int
	// Forked, if any, is told the process's number while the process still waits: for who reaps children and must leave this one to its waiter.
	Forked    func(pid int)
	NoPivot   bool
	NoKeyring bool
	Size      [2]uint16 // terminal's columns and rows if the configuration says none
}

// Container is a container that exists.
type Container struct {
	runtime *Runtime
	record  record
	spec    *specs.Spec
	// Pidfd is the first process's, -1 unless this value comes from Create. The caller closes it.
	Pidfd int
	// Console is the terminal's outer end, -1 without one and unless this value comes from Create. The caller closes it.
	Console int
}

// ID is the container's name.
func (c *Container) ID() string { return c.record.ID }

// Pid is the first process's number, 0 when it has ended.
func (c *Container) Pid() int { return c.record.Pid }

// Bundle is the folder of its configuration.
func (c *Container) Bundle() string { return c.record.Bundle }

// Spec is the configuration as it was when the container was made. Read-only.
func (c *Container) Spec() *specs.Spec { return c.spec }

// CgroupPath is the container's cgroup below the hierarchies' roots.
func (c *Container) CgroupPath() string { return c.record.Cgroup }

// CheckID refuses names that are no plain file names.
func CheckID(id string) error {
	if !validID(id) {
		return fmt.Errorf("%w: container id %q: only letters, digits and _ + - . are allowed, 1 to 1024 of them", ErrInvalid, id)
	}
	return nil
}

func validID(id string) bool {
	if id == "" || len(id) > 1024 || id == "." || id == ".." {
		return false
	}
	for i := 0; i < len(id); i++ {
		c := id[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '+', c == '-', c == '.':
		default:
			return false
		}
	}
	return true
}

func (r *Runtime) dir(id string) string { return filepath.Join(r.Root, id) }

// Sealed tells whether this program's own file could be written through a process's exe link: nil if it cannot, because it
// lies on a read-only mount or is a sealed memory file. A runtime that is not sealed must execute a sealed copy of itself
// before it makes containers: see cmd/nau-oci.
func Sealed() error {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("open own executable: %w", err)
	}
	defer f.Close()
	const getSeals, sealWrite = 1034, 8 // fcntl's F_GET_SEALS, F_SEAL_WRITE
	if seals, _, e := syscall.Syscall(syscall.SYS_FCNTL, f.Fd(), getSeals, 0); e == 0 && seals&sealWrite != 0 {
		return nil
	}
	var st syscall.Statfs_t
	if err := syscall.Fstatfs(int(f.Fd()), &st); err != nil {
		return fmt.Errorf("fstatfs of own executable: %w", err)
	}
	const stRdonly = 1
	if st.Flags&stRdonly != 0 {
		return nil
	}
	return errors.New("own executable is on a writable mount")
}
