package server

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"nau/internal/kernel"
	"nau/internal/oci"
	"nau/internal/oci/cgroup"
	"nau/internal/oci/monitor"
)

// adopt takes over what a former monitor left: it reads the requests, opens the streams again, takes hold of living
// processes, and tells the ends it missed.
func (s *Server) adopt() error {
	root := filepath.Join(s.cfg.StateDir, "containers")
	entries, err := os.ReadDir(root)
	if err != nil {
		return fmt.Errorf("read containers: %w", err)
	}
	for _, e := range entries {
		if err := s.adoptOne(e.Name()); err != nil {
			// One that cannot be read must not keep the others from being kept.
			s.cfg.Log.Error("adopt container", "id", e.Name(), "error", err)
		}
	}
	return nil
}

func (s *Server) adoptOne(id string) error {
	dir := s.dir(id)
	b, err := os.ReadFile(filepath.Join(dir, requestFile))
	if os.IsNotExist(err) {
		// Create was cut short; nobody was told of it. If it cannot be undone the folder stays: the next monitor tries again.
		if c, lerr := s.runtime.Load(id); lerr == nil {
			err = c.Delete(true)
		} else {
			err = s.runtime.Discard(id)
		}
		if err != nil {
			return err
		}
		return os.RemoveAll(dir)
	}
	if err != nil {
		return err
	}
	var k kept
	if err := json.Unmarshal(b, &k); err != nil {
		return fmt.Errorf("decode %s: %w", requestFile, err)
	}
	c := &container{server: s, id: id, request: k.Request, exited: make(chan struct{}), execs: map[string]*execution{}, made: true,
		pid: k.Pid, created: k.Created, started: k.Started}
	if c.backend, err = s.backend(k.Request); err != nil {
		return err
	}
	if k.Pid == 0 { // cut short too
		if err := c.backend.remove(c, true); err != nil {
			return err
		}
		return os.RemoveAll(dir)
	}
	if c.streams, err = newStreams(k.Request.Log, k.Request.StdinOnce); err != nil {
		return err
	}
	s.containers[id] = c
	if b, err := os.ReadFile(filepath.Join(dir, exitFile)); err == nil {
		var exit monitor.ExitStatus
		if json.Unmarshal(b, &exit) == nil {
			c.exit = &exit
			close(c.exited)
			return nil
		}
	}
	status := oci.StatusStopped
	if oc, err := s.runtime.Load(id); err == nil {
		status = oc.Status()
	} else if k.Request.Runtime != "" {
		status = oci.StatusRunning // told by the process below
	}
	if status != oci.StatusStopped {
		if c.process, err = kernel.OpenProcess(k.Pid); err != nil {
			status = oci.StatusStopped
		}
	}
	if status == oci.StatusStopped {
		c.finish(exitStatus(0, false))
		return nil
	}
	if c.started.IsZero() && status != oci.StatusCreated {
		c.started = k.Created // started by a request that was cut short
	}
	c.paused = status == oci.StatusPaused
	if !k.Request.Terminal {
		if err := c.streams.openFifos(dir, k.Request.OpenStdin); err != nil {
			s.cfg.Log.Error("open streams", "id", id, "error", err)
		}
	}
	go c.watch()
	return nil
}

// cgroupOf is the cgroup that the container's configuration names.
func cgroupOf(c *container) (*cgroup.Cgroup, error) {
	spec, _, err := oci.LoadSpec(c.request.Bundle)
	if err != nil {
		return nil, err
	}
	if spec.Linux == nil || spec.Linux.CgroupsPath == "" {
		return nil, fmt.Errorf("find cgroup of container %s: its configuration names none", c.id)
	}
	return cgroup.Open(spec.Linux.CgroupsPath)
}
