package probe

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"

	"nau/internal/nodeagent/life"
	"nau/internal/nodeagent/wheel"
)

// Probes is all the probes of a node.
type Probes struct {
	Exec    Executor
	Clock   clock.PassiveClock
	Wheel   *wheel.Wheel
	Changed func(pod string)                                                     // by the pod's UID; a container's Health is another now
	Event   func(pod *corev1.Pod, container, kind, reason, message string)       // for Unhealthy and ProbeWarning
	Ask     func(context.Context, *corev1.Probe, Target) (Result, string, error) // nil: the package's Ask

	mu  sync.Mutex
	set map[string]*container // by container id

	counts [3][3]atomic.Int64
}

type container struct {
	owner  *Probes
	pod    *corev1.Pod
	target Target
	start  time.Time // of the container
	health life.Health
	ctx    context.Context
	cancel context.CancelFunc
	probes [3]*worker // startup, liveness, readiness
}

const (
	startup = iota
	liveness
	readiness
)

var names = [3]string{"Startup", "Liveness", "Readiness"}

type worker struct {
	which  int
	spec   *corev1.Probe
	last   Result
	run    int32
	timer  *wheel.Timer
	asking bool
	ended  bool
}

// Watch begins to probe a running container, if it has probes and is not watched yet. before is what the API server last
// heard of the same container: an agent that starts anew goes on from there.
func (p *Probes) Watch(ctx context.Context, pod *corev1.Pod, spec *corev1.Container, id, ip string, started time.Time, before *life.Health) {
	if spec.StartupProbe == nil && spec.LivenessProbe == nil && spec.ReadinessProbe == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.set[id]; c != nil {
		c.pod = pod
		return
	}
	if p.set == nil {
		p.set = map[string]*container{}
	}
	c := &container{owner: p, pod: pod, target: Target{Container: spec, ContainerID: id, IP: ip}, start: started,
		health: life.Health{Started: spec.StartupProbe == nil, Ready: spec.ReadinessProbe == nil}}
	if before != nil {
		c.health.Started = c.health.Started || before.Started
		c.health.Ready = c.health.Ready || before.Ready
	}
	c.ctx, c.cancel = context.WithCancel(ctx)
	p.set[id] = c
	for which, sp := range []*corev1.Probe{spec.StartupProbe, spec.LivenessProbe, spec.ReadinessProbe} {
		if sp == nil || which == startup && c.health.Started {
			continue
		}
		w := &worker{which: which, spec: sp}
		c.probes[which] = w
		if which == startup || c.health.Started {
			c.schedule(w, started.Add(time.Duration(sp.InitialDelaySeconds)*time.Second))
		}
	}
}

// Quiet ends the probes that could restart a container that is being stopped; readiness goes on.
func (p *Probes) Quiet(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.set[id]; c != nil {
		for _, w := range c.probes[:readiness] {
			if w != nil {
				w.end()
			}
		}
	}
}

// Forget ends all probes of a container.
func (p *Probes) Forget(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.set[id]; c != nil {
		c.cancel()
		for _, w := range c.probes {
			if w != nil {
				w.end()
			}
		}
		delete(p.set, id)
	}
}

// Health is what the probes say of a container; ok is false if it has none.
func (p *Probes) Health(id string) (h life.Health, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.set[id]; c != nil {
		return c.health, true
	}
	return life.Health{}, false
}

// Counts returns how many attempts ended how, by probe and Result.
func (p *Probes) Counts(each func(probe string, r Result, n int64)) {
	for w := range p.counts {
		for r := range p.counts[w] {
			each(names[w], Result(r), p.counts[w][r].Load())
		}
	}
}

// schedule is called with mu held.
func (c *container) schedule(w *worker, at time.Time) {
	w.timer = c.owner.Wheel.At(at, func() { go c.attempt(w) })
}

func (w *worker) end() {
	w.ended = true
	w.timer.Stop()
}

func (c *container) attempt(w *worker) {
	p := c.owner
	p.mu.Lock()
	if w.ended || w.asking || c.ctx.Err() != nil {
		p.mu.Unlock()
		return
	}
	w.asking = true
	p.mu.Unlock()
	began := p.Clock.Now()
	ask := p.Ask
	if ask == nil {
		ask = func(ctx context.Context, s *corev1.Probe, t Target) (Result, string, error) {
			return Ask(ctx, p.Exec, s, t)
		}
	}
	r, out, err := ask(c.ctx, w.spec, c.target)
	if c.ctx.Err() != nil {
		return
	}
	p.counts[w.which][r].Add(1)
	switch {
	case r == Unknown:
		p.Event(c.pod, c.target.Container.Name, corev1.EventTypeWarning, "Unhealthy", fmt.Sprintf("%s probe errored and resulted in unknown state: %v", names[w.which], err))
	case r == Failure:
		p.Event(c.pod, c.target.Container.Name, corev1.EventTypeWarning, "Unhealthy", fmt.Sprintf("%s probe failed: %s", names[w.which], out))
	}
	p.mu.Lock()
	w.asking = false
	if w.ended {
		p.mu.Unlock()
		return
	}
	changed := c.note(w, r)
	if !w.ended {
		period := time.Duration(max(w.spec.PeriodSeconds, 1)) * time.Second
		next := began.Add(period)
		if now := p.Clock.Now(); next.Before(now) {
			next = now
		}
		c.schedule(w, next)
	}
	p.mu.Unlock()
	if changed {
		p.Changed(string(c.pod.UID))
	}
}

// note counts a result against the thresholds and tells whether the container's health changed. mu is held.
func (c *container) note(w *worker, r Result) bool {
	if r == Unknown {
		return false
	}
	if r == w.last {
		w.run++
	} else {
		w.last, w.run = r, 1
	}
	if r == Failure && w.run < max(w.spec.FailureThreshold, 1) || r == Success && w.run < max(w.spec.SuccessThreshold, 1) {
		return false
	}
	old := c.health
	switch w.which {
	case startup:
		w.end()
		if r == Failure {
			c.health.Failed = "startup"
			break
		}
		c.health.Started = true
		for _, next := range c.probes[liveness:] {
			if next != nil && next.timer == nil {
				at := c.start.Add(time.Duration(next.spec.InitialDelaySeconds) * time.Second)
				if now := c.owner.Clock.Now(); at.Before(now) {
					at = now
				}
				c.schedule(next, at)
			}
		}
	case liveness:
		if r == Failure {
			c.health.Failed = "liveness"
			w.end()
		}
	case readiness:
		c.health.Ready = r == Success
	}
	return c.health != old
}
