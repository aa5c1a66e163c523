package server

import (
	"fmt"
	"path/filepath"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"nau/internal/kernel"
	"nau/internal/oci"
	"nau/internal/oci/monitor"
)

// made is a container's first process, or an exec's.
type made struct {
	process *kernel.Process
	console int    // terminal's outer end, or -1
	unkeep  func() // lets the reaper have the process
}

// backend is what runs a container: the runtime in this program, or another in a file.
type backend interface {
	create(c *container, e *ends) (made, error)
	start(c *container) error
	exec(c *container, req *monitor.ExecRequest, stdio [3]int) (made, error)
	kill(c *container, sig syscall.Signal, all bool) error
	pause(c *container, on bool) error
	update(c *container, r *specs.LinuxResources) error
	stats(c *container) (monitor.Stats, error)
	oomKills(c *container) uint64
	// alone: all processes of the container have ended when its first has.
	alone(c *container) bool
	remove(c *container, force bool) error
}

func (s *Server) backend(req monitor.CreateRequest) (backend, error) {
	if err := oci.CheckID(req.ID); err != nil {
		return nil, err
	}
	if req.Runtime == "" {
		return &builtin{runtime: s.runtime, reaper: s.reaper}, nil
	}
	if !filepath.IsAbs(req.Runtime) {
		return nil, fmt.Errorf("%w: runtime %q is not an absolute path", monitor.ErrInvalid, req.Runtime)
	}
	return &external{path: req.Runtime, root: filepath.Join(s.cfg.StateDir, "external"), reaper: s.reaper}, nil
}

// builtin is package oci.
type builtin struct {
	runtime *oci.Runtime
	reaper  *reaper
	c       *oci.Container
}

func (b *builtin) load(c *container) (*oci.Container, error) {
	if b.c == nil {
		found, err := b.runtime.Load(c.id)
		if err != nil {
			return nil, err
		}
		b.c = found
	}
	return b.c, nil
}

func (b *builtin) create(c *container, e *ends) (m made, err error) {
	unkeep := func() {}
	defer func() {
		if err != nil {
			unkeep()
		}
	}()
	forked := func(pid int) { unkeep = b.reaper.keep(pid) }
	oc, err := b.runtime.Create(oci.CreateOptions{ID: c.id, Bundle: c.request.Bundle, Stdio: e.fds, Size: c.request.Size, Forked: forked})
	if err != nil {
		return made{}, err
	}
	if (oc.Console >= 0) != c.request.Terminal {
		kernel.Close(oc.Console, oc.Pidfd)
		_ = oc.Delete(true)
		return made{}, fmt.Errorf("create container %s: %w: process.terminal of config.json and the request differ", c.id, monitor.ErrInvalid)
	}
	p, err := kernel.NewProcess(oc.Pid(), oc.Pidfd)
	if err != nil {
		_ = oc.Delete(true)
		return made{}, err
	}
	b.c = oc
	return made{process: p, console: oc.Console, unkeep: unkeep}, nil
}

func (b *builtin) start(c *container) error {
	oc, err := b.load(c)
	if err != nil {
		return err
	}
	return oc.Start()
}

func (b *builtin) exec(c *container, req *monitor.ExecRequest, stdio [3]int) (m made, err error) {
	unkeep := func() {}
	defer func() {
		if err != nil {
			unkeep()
		}
	}()
	forked := func(pid int) { unkeep = b.reaper.keep(pid) }
	oc, err := b.load(c)
	if err != nil {
		return made{}, err
	}
	process := *req.Process
	process.Terminal = req.Terminal
	p, err := oc.Exec(oci.ExecOptions{Process: &process, Stdio: stdio, Size: req.Size, Forked: forked})
	if err != nil {
		return made{}, err
	}
	held, err := kernel.NewProcess(p.Pid, p.Pidfd)
	if err != nil {
		kernel.Close(p.Console)
		return made{}, err
	}
	return made{process: held, console: p.Console, unkeep: unkeep}, nil
}

func (b *builtin) kill(c *container, sig syscall.Signal, all bool) error {
	oc, err := b.load(c)
	if err != nil {
		return err
	}
	if all || sig == syscall.SIGKILL && !oc.OwnsPIDs() {
		return oc.SignalAll(sig)
	}
	return oc.Signal(sig)
}

func (b *builtin) pause(c *container, on bool) error {
	oc, err := b.load(c)
	if err != nil {
		return err
	}
	if on {
		return oc.Pause()
	}
	return oc.Resume()
}

func (b *builtin) update(c *container, r *specs.LinuxResources) error {
	oc, err := b.load(c)
	if err != nil {
		return err
	}
	return oc.Update(r)
}

func (b *builtin) stats(c *container) (monitor.Stats, error) {
	oc, err := b.load(c)
	if err != nil {
		return monitor.Stats{}, err
	}
	return oc.Stats()
}

func (b *builtin) oomKills(c *container) uint64 {
	oc, err := b.load(c)
	if err != nil {
		return 0
	}
	return oc.OOMKills()
}

func (b *builtin) alone(c *container) bool {
	oc, err := b.load(c)
	return err == nil && oc.OwnsPIDs()
}

func (b *builtin) remove(c *container, force bool) error {
	oc, err := b.load(c)
	if err != nil {
		return err
	}
	return oc.Delete(force)
}
