package nodeagent

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nau/internal/nodeagent/life"
)

func notFound(err error) bool { return status.Code(err) == codes.NotFound }

// act carries a plan out. Whatever it changed, another round follows.
func (w *worker) act(ctx context.Context, pod *corev1.Pod, plan *life.Plan) {
	a := w.agent
	if sb := w.observed().Sandbox(); plan.NewSandbox && plan.Attempt > 1 && sb != nil {
		// Sandboxes that die young are made anew ever more slowly.
		until := sb.Created.Add(min(time.Second<<min(plan.Attempt-1, 9), life.BackOffMax))
		if a.cfg.Clock.Now().Before(until) {
			w.again(until)
			return
		}
	}
	ctx, done := w.action(ctx, -1)
	defer done()
	if plan.KillAll {
		grace := w.graceOf(pod)
		if err := w.killAll(ctx, pod, grace, plan.NewSandbox); err != nil {
			if ctx.Err() == nil {
				w.fail(a.cfg.Clock.Now())
			}
			return
		}
	}
	if plan.Done {
		w.mu.Lock()
		w.stopped = true
		w.mu.Unlock()
		w.kickLater()
		return
	}
	if plan.NewSandbox {
		if err := w.newSandbox(ctx, pod, plan.Attempt); err != nil {
			if ctx.Err() == nil {
				w.fail(a.cfg.Clock.Now())
			}
			return
		}
		w.kickLater()
		return
	}
	changed := false
	for _, s := range plan.Stop {
		changed = true
		w.replacing = w.replacing || s.Reason == "changed" || s.Reason == "resize"
		if err := w.stopOne(ctx, pod, &s); err != nil && ctx.Err() == nil {
			a.cfg.Log.Warn("stop container", "pod", podName(pod), "container", s.Container.Name, "err", err)
			w.fail(a.cfg.Clock.Now())
			return
		}
	}
	failed := false
	for i := range plan.Start {
		if ctx.Err() != nil {
			return
		}
		s := &plan.Start[i]
		if w.waitPull(s.Spec.Image) {
			failed = true
			continue
		}
		if err := w.start(ctx, pod, s); err != nil {
			failed = true
			continue
		}
		changed = true
		if i+1 < len(plan.Start) {
			w.publish(w.view(), plan)
		}
	}
	if len(plan.Start) > 0 && failed {
		w.publish(w.view(), plan)
	}
	if !failed {
		w.failures = 0
	}
	for _, c := range plan.Remove {
		if _, err := a.cfg.Runtime.RemoveContainer(ctx, &runtimeapi.RemoveContainerRequest{ContainerId: c.ID}); err == nil || notFound(err) {
			w.drop(c.ID)
		}
	}
	w.again(plan.Wake)
	w.refreshVolumes(ctx, pod)
	if changed {
		w.kickLater()
	}
}

// drop forgets a container that was removed.
func (w *worker) drop(id string) {
	w.agent.probes.Forget(id)
	w.change(func(o *life.Observed) {
		for i, c := range o.Containers {
			if c.ID == id {
				o.Containers = append(o.Containers[:i], o.Containers[i+1:]...)
				return
			}
		}
	})
	delete(w.applied, id)
	delete(w.hooked, id)
}

// refreshVolumes brings what volumes show up to date; a pod's first mount was made with its sandbox.
func (w *worker) refreshVolumes(ctx context.Context, pod *corev1.Pod) {
	if w.observed().Sandbox() == nil || len(pod.Spec.Volumes) == 0 || ctx.Err() != nil {
		return
	}
	now := w.agent.cfg.Clock.Now()
	w.mu.Lock()
	due := w.contents || w.mounts == nil || !w.mountNext.IsZero() && !now.Before(w.mountNext)
	w.contents = false
	w.mu.Unlock()
	if due {
		if _, err := w.mount(ctx, pod); err != nil {
			w.mu.Lock()
			w.contents = true
			w.mu.Unlock()
			w.fail(now)
			return
		}
	}
	w.again(w.mountNext)
}

// mount makes the pod's volumes and tells of failures.
func (w *worker) mount(ctx context.Context, pod *corev1.Pod) (bool, error) {
	m, next, err := w.agent.volumes.Mount(ctx, pod)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if err != nil {
		for _, e := range split(err) {
			w.event(pod, "", corev1.EventTypeWarning, "FailedMount", e.Error())
		}
		return false, err
	}
	w.mounts, w.mountNext = m, next
	return true, nil
}

// split takes joined errors apart.
func split(err error) []error {
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		return j.Unwrap()
	}
	return []error{err}
}

// stopOne stops one container that is to be started anew, or removes one that never ran.
func (w *worker) stopOne(ctx context.Context, pod *corev1.Pod, s *life.Stop) error {
	a := w.agent
	if s.Container.State == life.Created {
		if _, err := a.cfg.Runtime.RemoveContainer(ctx, &runtimeapi.RemoveContainerRequest{ContainerId: s.Container.ID}); err != nil && !notFound(err) {
			return err
		}
		w.drop(s.Container.ID)
		return nil
	}
	grace := w.graceOf(pod)
	if s.Grace != nil {
		grace = *s.Grace
	}
	return w.stopContainer(ctx, pod, s.Spec, s.Container, grace, s.Message, nil)
}

// waitPull tells whether the pull of an image in this pod has to wait; the back-off's event and state were made already.
func (w *worker) waitPull(image string) bool {
	p, ok := w.pulls[image]
	if !ok || p.backoff.Delay == 0 {
		return false
	}
	until := p.backoff.Until(p.backoff.Updated)
	if !w.agent.cfg.Clock.Now().Before(until) {
		return false
	}
	w.again(until)
	if shown := p.backoff.Updated.Add(pullErrorShown); w.agent.cfg.Clock.Now().Before(shown) {
		w.again(shown)
	} else if !p.told {
		p.told = true
		w.pulls[image] = p
		w.tellPullBackOff(image)
	}
	return true
}

// pullErrorShown is how long the status says why a pull failed before it says that the next one waits.
const pullErrorShown = time.Second

// backOffPull remembers a failed pull and when the next may be tried.
func (w *worker) backOffPull(image, message string, now time.Time) {
	if w.pulls == nil {
		w.pulls = map[string]pull{}
	}
	p := w.pulls[image]
	p.backoff, p.last, p.told = p.backoff.Next(now, now), message, false
	w.pulls[image] = p
	w.again(now.Add(pullErrorShown))
}
