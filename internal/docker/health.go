package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	dc "github.com/moby/moby/api/types/container"
	de "github.com/moby/moby/api/types/events"

	"nau/internal/engine/container"
)

// Defaults of a health check. Source: the Dockerfile reference, HEALTHCHECK.
const (
	healthInterval      = 30 * time.Second
	healthTimeout       = 30 * time.Second
	healthStartInterval = 5 * time.Second
	healthRetries       = 3
	healthKept          = 5    // results
	healthOutput        = 4096 // bytes of each
)

// checks are the health checks of containers. What the last run of a container came to, and which containers have checks at all, is kept in a
// folder, a file each, for the server after this one.
type checks struct {
	dir string
	mu  sync.Mutex
	all map[string]*check
}

// open finds what the last server knew: running containers are starting again, of others it is told what was found.
func (x *checks) open(dir string, running func(id string) (run int, yes, known bool)) error {
	x.dir, x.all = dir, map[string]*check{}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	files, err := os.ReadDir(dir)
	for _, f := range files {
		c := &check{stop: func() {}, doc: dc.Health{Status: dc.Starting, Log: []*dc.HealthcheckResult{}}}
		run, yes, known := running(f.Name())
		if !known {
			_ = os.Remove(filepath.Join(dir, f.Name()))
			continue
		}
		c.run = run
		if !yes {
			text, err := os.ReadFile(filepath.Join(dir, f.Name()))
			var found dc.Health
			if err == nil && json.Unmarshal(text, &found) == nil && found.Log != nil { // else a crash cut it off
				c.doc = found
			}
			c.doc.Status, c.over = dc.Unhealthy, true
		}
		x.all[f.Name()] = c
	}
	return err
}

// keep writes down what is known of a container.
func (x *checks) keep(id string, doc dc.Health) error {
	text, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(x.dir, id), text, 0o600)
}

type check struct {
	stop context.CancelFunc
	mu   sync.Mutex
	doc  dc.Health
	run  int  // of its container: the how manieth
	over bool // the run is: what was found is told until the next one
}

// judge decides what a result makes of a container's health. Before startPeriod is over failures do not count.
func judge(h dc.Health, r dc.HealthcheckResult, starting bool, retries int) dc.Health {
	h.Log = append(slices.Clone(h.Log), &r)
	if len(h.Log) > healthKept {
		h.Log = h.Log[len(h.Log)-healthKept:]
	}
	switch {
	case r.ExitCode == 0:
		h.Status, h.FailingStreak = dc.Healthy, 0
	case starting && h.Status == dc.Starting:
	default:
		if h.FailingStreak++; h.FailingStreak >= retries {
			h.Status = dc.Unhealthy
		}
	}
	return h
}

func (x *checks) get(id string) *check {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.all[id]
}

func (x *checks) status(id string) dc.HealthStatus {
	if c := x.get(id); c != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.doc.Status
	}
	return dc.NoHealthcheck
}

// doc is what inspect tells of a container's run; nil without a check. A run whose checks have yet to begin is starting.
func (x *checks) doc(id string, run int) *dc.Health {
	c := x.get(id)
	if c == nil {
		return nil
	}
	if c.run < run {
		return &dc.Health{Status: dc.Starting, Log: []*dc.HealthcheckResult{}}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.doc
	return &d
}

// stop ends a container's checks at the end of its run. It is not healthy any more; what the checks found stays to be looked at.
func (x *checks) stop(id string, run int) error {
	c := x.get(id)
	if c == nil || c.run > run {
		return nil
	}
	c.stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return nil
	}
	c.doc.Status, c.over = dc.Unhealthy, true
	return x.keep(id, c.doc)
}

// forget takes away what is known of a container that is removed.
func (x *checks) forget(id string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if c := x.all[id]; c != nil {
		c.stop()
		delete(x.all, id)
		_ = os.Remove(filepath.Join(x.dir, id)) // else the next server does
	}
}

func (x *checks) stopAll() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for id, c := range x.all {
		c.stop()
		delete(x.all, id)
	}
}

// ran tells how often a container was started, and whether it runs.
func (s *Server) ran(id string) (run int, yes, known bool) {
	r, err := s.e.Containers.Get(id)
	if err != nil {
		return 0, false, false
	}
	return r.Starts, running(r), true
}

// endHealth is the end of a container's run.
func (s *Server) endHealth(r *container.Record) {
	if err := s.health.stop(r.ID, r.Starts); err != nil {
		s.log.Warn("keep health", "container", r.ID, "error", err)
	}
}

// watchHealth begins a running container's checks, if it has any.
func (s *Server) watchHealth(r *container.Record, st *stored) {
	h := st.Config.Healthcheck
	if h == nil || len(h.Test) == 0 || h.Test[0] == "NONE" {
		return
	}
	var args []string
	switch h.Test[0] {
	case "CMD":
		args = h.Test[1:]
	case "CMD-SHELL":
		shell := st.Config.Shell
		if len(shell) == 0 {
			shell = []string{"/bin/sh", "-c"}
		}
		args = append(slices.Clone(shell), h.Test[1:]...)
	default:
		return
	}
	if len(args) == 0 {
		return
	}
	if now, err := s.e.Containers.Get(r.ID); err == nil {
		r = now
	}
	ctx, stop := context.WithCancel(s.life)
	c := &check{stop: stop, run: r.Starts, doc: dc.Health{Status: dc.Starting, Log: []*dc.HealthcheckResult{}}}
	if err := s.health.keep(r.ID, c.doc); err != nil {
		s.log.Warn("keep health", "container", r.ID, "error", err)
	}
	s.health.mu.Lock()
	if old := s.health.all[r.ID]; old != nil {
		old.stop()
	}
	s.health.all[r.ID] = c
	s.health.mu.Unlock()
	s.ended.Go(func() { s.probe(ctx, r, c, h, args) })
}

func or(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

func (s *Server) probe(ctx context.Context, r *container.Record, c *check, h *dc.HealthConfig, args []string) {
	begun := time.Now()
	retries := h.Retries
	if retries == 0 {
		retries = healthRetries
	}
	for {
		starting := time.Since(begun) < h.StartPeriod
		c.mu.Lock()
		status := c.doc.Status
		c.mu.Unlock()
		wait := or(h.Interval, healthInterval)
		if starting && status == dc.Starting {
			wait = min(wait, or(h.StartInterval, healthStartInterval))
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		if now, err := s.e.Containers.Get(r.ID); err != nil || !running(now) {
			return
		} else if now.State == container.Paused {
			continue
		}
		result := s.probeOnce(ctx, r.ID, args, or(h.Timeout, healthTimeout))
		if ctx.Err() != nil {
			return
		}
		c.mu.Lock()
		if c.over {
			c.mu.Unlock()
			return
		}
		before := c.doc.Status
		c.doc = judge(c.doc, result, time.Since(begun) < h.StartPeriod, retries)
		after := c.doc.Status
		c.mu.Unlock()
		if before != after {
			s.hub.container(de.Action("health_status: "+string(after)), r, nil)
		}
	}
}

func (s *Server) probeOnce(ctx context.Context, id string, args []string, timeout time.Duration) dc.HealthcheckResult {
	out := &head{max: healthOutput}
	res := dc.HealthcheckResult{Start: time.Now()}
	if r, err := s.e.Containers.Get(id); err == nil {
		s.hub.container(execAction("exec_create: ", args), r, nil)
		s.hub.container(execAction("exec_start: ", args), r, nil)
	}
	within, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	code, err := s.e.Containers.Exec(within, id, container.ExecConfig{Args: args, Streams: container.Streams{Stdout: out, Stderr: out}})
	res.End, res.ExitCode, res.Output = time.Now(), code, out.String()
	switch {
	case within.Err() == context.DeadlineExceeded:
		res.ExitCode = -1
		if res.Output != "" {
			res.Output = ": " + res.Output
		}
		res.Output = "Health check exceeded timeout (" + timeout.String() + ")" + res.Output
	case err != nil:
		res.ExitCode, res.Output = -1, err.Error()
	}
	return res
}

// head keeps the beginning of what is written to it.
type head struct {
	mu  sync.Mutex
	b   bytes.Buffer
	max int
}

func (h *head) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if room := h.max - h.b.Len(); room > 0 {
		h.b.Write(b[:min(room, len(b))])
	}
	return len(b), nil
}

func (h *head) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.b.String()
}
