package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"nau/internal/kernel"
	"nau/internal/oci/cgroup"
)

// What a container's folder below Runtime.Root holds:
//
//	state.json   the record
//	config.json  the configuration as it was when the container was made
//	start        FIFO: the process waits for a byte; gone once started
//	exec         FIFO: the process tells here why it could not be executed
//	mount        the mount of the root on the host, of a container without a mount namespace
const (
	recordFile = "state.json"
	configFile = "config.json"
	startFifo  = "start"
	execFifo   = "exec"
	mountFile  = "mount"
)

type record struct {
	ID        string    `json:"id"`
	Pid       int       `json:"pid"`
	StartTime uint64    `json:"startTime"` // of the process, in clock ticks since boot: tells whether Pid is still it
	Bundle    string    `json:"bundle"`
	Created   time.Time `json:"created"`
	Cgroup    string    `json:"cgroup"`
	Rootless  bool      `json:"rootless,omitempty"`
	UserNS    bool      `json:"userns,omitempty"` // the container has a user namespace other than the runtime's
	NoPivot   bool      `json:"noPivot,omitempty"`
	Steps     []string  `json:"steps,omitempty"` // names of the child's steps, to word its last error
}

func (c *Container) save() error {
	b, err := json.Marshal(&c.record)
	if err != nil {
		return fmt.Errorf("encode record of %s: %w", c.record.ID, err)
	}
	path := filepath.Join(c.runtime.dir(c.record.ID), recordFile)
	// No fsync: the record does not outlive the machine's uptime.
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return fmt.Errorf("write record of %s: %w", c.record.ID, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write record of %s: %w", c.record.ID, err)
	}
	return nil
}

// Load finds a container.
func (r *Runtime) Load(id string) (*Container, error) {
	if err := CheckID(id); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(filepath.Join(r.dir(id), recordFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("container %s: %w", id, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("read record of %s: %w", id, err)
	}
	c := &Container{runtime: r, Pidfd: -1, Console: -1}
	if err := json.Unmarshal(b, &c.record); err != nil {
		return nil, fmt.Errorf("decode record of %s: %w", id, err)
	}
	config, err := os.ReadFile(filepath.Join(r.dir(id), configFile))
	if err != nil {
		return nil, fmt.Errorf("read configuration of %s: %w", id, err)
	}
	if c.spec, err = DecodeSpec(config); err != nil {
		return nil, fmt.Errorf("configuration of %s: %w", id, err)
	}
	return c, nil
}

// List finds all containers, ordered by name. Folders that are no containers are passed over.
func (r *Runtime) List() ([]*Container, error) {
	entries, err := os.ReadDir(r.Root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	var all []*Container
	for _, e := range entries {
		if c, err := r.Load(e.Name()); err == nil {
			all = append(all, c)
		}
	}
	return all, nil
}

// alive tells whether the first process is there and not a zombie.
func (c *Container) alive() bool {
	if c.record.Pid <= 0 {
		return false
	}
	state, start, err := processStat(c.record.Pid)
	return err == nil && state != 'Z' && state != 'X' && (c.record.StartTime == 0 || start == c.record.StartTime)
}

// processStat reads a process's state and start time, fields 3 and 22 of proc_pid_stat(5).
func processStat(pid int) (state byte, start uint64, err error) {
	fd, err := kernel.OpenProc(strconv.Itoa(pid)+"/stat", unix.O_RDONLY)
	if err != nil {
		return 0, 0, err
	}
	defer unix.Close(fd)
	buf := make([]byte, 1024)
	n, err := unix.Read(fd, buf)
	if err != nil {
		return 0, 0, fmt.Errorf("read process %d: %w", pid, err)
	}
	return parseStat(string(buf[:n]))
}

func parseStat(text string) (state byte, start uint64, err error) {
	// The name, field 2, may hold anything, parentheses too.
	_, rest, ok := strings.Cut(text[strings.LastIndexByte(text, ')')+1:], " ")
	f := strings.Fields(rest)
	if !ok || len(f) < 20 {
		return 0, 0, fmt.Errorf("read process status: malformed")
	}
	start, err = strconv.ParseUint(f[19], 10, 64)
	return f[0][0], start, err
}

// Status tells what the container does now.
func (c *Container) Status() Status {
	if !c.alive() {
		return StatusStopped
	}
	if _, err := os.Lstat(filepath.Join(c.runtime.dir(c.record.ID), startFifo)); err == nil {
		return StatusCreated
	}
	if cg, err := c.cgroup(); err == nil && cg.Frozen() {
		return StatusPaused
	}
	return StatusRunning
}

// State is what the specification's state operation tells.
func (c *Container) State() specs.State {
	s := specs.State{Version: specs.Version, ID: c.record.ID, Status: specs.ContainerState(c.Status()), Bundle: c.record.Bundle, Annotations: c.spec.Annotations}
	if s.Status != specs.StateStopped {
		s.Pid = c.record.Pid
	}
	return s
}

// Created is when the container was made.
func (c *Container) Created() time.Time { return c.record.Created }

func (c *Container) cgroup() (*cgroup.Cgroup, error) { return cgroup.Open(c.record.Cgroup) }

// DecodeState reads what the state command printed; err is that command's.
func DecodeState(out []byte, err error) (specs.State, error) {
	var s specs.State
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(out, &s); err != nil {
		return s, fmt.Errorf("decode state: %w", err)
	}
	return s, nil
}
