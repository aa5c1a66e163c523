package docker

import (
	"context"
	"fmt"
	"sync"
	"time"

	dc "github.com/moby/moby/api/types/container"

	"nau/internal/engine/container"
)

// The pauses between restarts, and the run after which they begin anew. Source: Docker's documentation, "Start containers automatically".
const (
	firstPause = 100 * time.Millisecond
	lastPause  = time.Minute
	goodRun    = 10 * time.Second
)

// end is how a run ended.
type end struct {
	code    int
	ran     time.Duration
	stopped bool          // by a user
	tries   int           // restarts on failure so far
	pause   time.Duration // before this run
}

// again decides whether a container is started again, and after what pause.
func again(p dc.RestartPolicy, e end) (bool, time.Duration) {
	if e.stopped {
		return false, 0
	}
	switch p.Name {
	case dc.RestartPolicyAlways, dc.RestartPolicyUnlessStopped:
	case dc.RestartPolicyOnFailure:
		if e.code == 0 || p.MaximumRetryCount > 0 && e.tries >= p.MaximumRetryCount {
			return false, 0
		}
	default:
		return false, 0
	}
	if e.pause == 0 || e.ran >= goodRun {
		return true, firstPause
	}
	return true, min(2*e.pause, lastPause)
}

// atStart decides whether a container that does not run is started when the server starts.
func atStart(p dc.RestartPolicy, stopped, ranBefore bool, code int) bool {
	switch p.Name {
	case dc.RestartPolicyAlways:
		return ranBefore
	case dc.RestartPolicyUnlessStopped:
		return ranBefore && !stopped
	case dc.RestartPolicyOnFailure:
		return ranBefore && !stopped && code != 0
	}
	return false
}

// restarts are the containers that wait to be started again.
type restarts struct {
	mu   sync.Mutex
	all  map[string]*restart
	held map[string]int
}

type restart struct {
	pause time.Duration
	timer *time.Timer // nil while it runs
	busy  bool        // the pause is over, and it is being started
}

// pause is how long the last one was; 0 if there was none.
func (r *restarts) pause(id string) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if x := r.all[id]; x != nil {
		return x.pause
	}
	return 0
}

// after runs f when the pause is over, unless forgotten before.
func (r *restarts) after(id string, pause time.Duration, f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all == nil {
		r.all = map[string]*restart{}
	}
	x := &restart{pause: pause}
	x.timer = time.AfterFunc(pause, func() {
		r.mu.Lock()
		mine := r.all[id] == x
		if mine {
			x.timer, x.busy = nil, true
		}
		r.mu.Unlock()
		if mine {
			f()
			r.mu.Lock()
			x.busy = false
			r.mu.Unlock()
		}
	})
	r.all[id] = x
}

// pending reports whether the container waits for its restart.
func (r *restarts) pending(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	x := r.all[id]
	return x != nil && (x.timer != nil || x.busy)
}

// hold keeps the end of a container's run from being acted on while it is restarted by a user; release is called when that is done.
func (r *restarts) hold(id string) (release func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held == nil {
		r.held = map[string]int{}
	}
	r.held[id]++
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.held[id]--; r.held[id] == 0 {
			delete(r.held, id)
		}
	}
}

func (r *restarts) isHeld(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held[id] > 0
}

func (r *restarts) forget(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if x := r.all[id]; x != nil {
		if x.timer != nil {
			x.timer.Stop()
		}
		delete(r.all, id)
	}
}

func (r *restarts) stopAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, x := range r.all {
		if x.timer != nil {
			x.timer.Stop()
		}
		delete(r.all, id)
	}
}

// died acts on the end of a container's run.
func (s *Server) died(id string) {
	r, err := s.e.Containers.Get(id)
	if err != nil || r.Config.Origin != Origin {
		return
	}
	if running(r) {
		return // started again already
	}
	s.endHealth(r)
	s.senders.logEnded(id)
	if s.restarts.isHeld(id) {
		return
	}
	st := load(r)
	if st.Host.AutoRemove {
		if err := s.remove(context.Background(), id, removal{force: true, volumes: true}); err != nil {
			s.log.Error("remove container", "container", id, "error", err)
		}
		return
	}
	yes, pause := again(st.Host.RestartPolicy, endOf(r, st, s.restarts.pause(id)))
	if !yes || s.life.Err() != nil {
		s.restarts.forget(id)
		s.settle(context.Background(), id)
		return
	}
	s.restartAfter(r, pause)
	if err := s.change(id, func(st *stored) { st.Restarts++; st.Failures++ }); err != nil {
		s.log.Warn("count restart of container", "container", id, "error", err)
	}
}

func endOf(r *container.Record, st *stored, pause time.Duration) end {
	return end{code: r.ExitCode, ran: r.Finished.Sub(r.Started), stopped: st.Stopped, tries: st.Failures, pause: pause}
}

// between reports whether a container that does not run is between two runs: its restart is awaited or under way, or its end has not been acted
// on yet and its policy wants it again.
func (s *Server) between(r *container.Record) bool {
	if running(r) || r.Config.Origin != Origin {
		return false
	}
	if s.restarts.pending(r.ID) {
		return true
	}
	if r.State != container.Exited || r.Error != "" || !r.Config.Restart.Wanted() { // the last of most: lists need not read their definitions
		return false
	}
	st := load(r)
	yes, _ := again(st.Host.RestartPolicy, endOf(r, st, 0))
	return yes
}

func (s *Server) restartAfter(r *container.Record, pause time.Duration) {
	s.restarts.after(r.ID, pause, func() {
		if s.life.Err() != nil {
			return
		}
		if err := s.start(s.life, r.ID, false); err != nil {
			s.log.Warn("restart container", "container", r.ID, "error", err)
			if now, err := s.e.Containers.Get(r.ID); err == nil && !running(now) {
				s.died(r.ID)
			}
		}
	})
}

// redefine makes the places anew that a loss of power took: a container's record is on the disk when it is created, that of its sandbox perhaps
// not yet.
func (s *Server) redefine() error {
	for _, r := range s.e.Containers.List() {
		if r.Config.Origin != Origin {
			continue
		}
		if _, err := s.e.Sandboxes.Get(r.Config.Sandbox); err == nil {
			continue // nearly always: its definition need not be read
		}
		if st := load(r); st.Own && st.Place != nil {
			if err := s.e.Sandboxes.Redefine(r.Config.Sandbox, *st.Place); err != nil {
				return fmt.Errorf("define the sandbox of container %s again: %w", r.ID[:12], err)
			}
		}
	}
	return nil
}

// recover brings policies in line with what happened while no server was there.
func (s *Server) recover() {
	for _, r := range s.e.Containers.List() {
		if r.Config.Origin != Origin || s.life.Err() != nil {
			continue
		}
		st := load(r)
		if !running(r) && r.State != container.Created {
			s.sendLog(r, st) // what the last server did not get to
			s.senders.logEnded(r.ID)
		}
		switch {
		case running(r):
			if err := s.resolve.joined(r.Config.Sandbox); err != nil {
				s.log.Warn("serve names", "container", r.ID, "error", err)
			}
			s.sendLog(r, st)
			s.watchHealth(r, st)
		case r.State == container.Created:
		case st.Host.AutoRemove:
			_ = s.remove(s.life, r.ID, removal{force: true, volumes: true})
		case atStart(st.Host.RestartPolicy, st.Stopped, !r.Started.IsZero(), r.ExitCode):
			s.restartAfter(r, firstPause)
		default:
			s.settle(s.life, r.ID)
		}
	}
}
