package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nau/internal/nodeagent/life"
)

// leastAfterHook is what a container gets to end after a preStop hook that used the grace period up, in seconds.
const leastAfterHook = 2

// kill stops everything of the pod within grace seconds; a deletion with less grace cuts it short, and the next round goes
// on with that.
func (w *worker) kill(ctx context.Context, pod *corev1.Pod, grace int64) error {
	ctx, done := w.action(ctx, grace)
	defer done()
	err := w.killAll(ctx, pod, grace, false)
	if errors.Is(ctx.Err(), context.Canceled) && w.agent.ctx.Err() == nil {
		w.kickLater()
		return nil
	}
	return err
}

// killAll stops all containers, sidecars after the others and in the reverse of their order, then the sandboxes.
func (w *worker) killAll(ctx context.Context, pod *corev1.Pod, grace int64, replace bool) error {
	a, obs := w.agent, w.observed()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	stop := func(c *corev1.Container, st *life.Container, turn <-chan struct{}, over chan<- struct{}) {
		defer wg.Done()
		if over != nil {
			defer close(over)
		}
		if err := w.stopContainer(ctx, pod, c, st, grace, "", turn); err != nil {
			mu.Lock()
			errs = append(errs, err)
			mu.Unlock()
		}
	}
	var sidecars []*life.Container
	var specs []*corev1.Container
	mains := make(chan struct{})
	var mainGroup sync.WaitGroup
	for _, st := range obs.Containers {
		if st.State != life.Running && st.State != life.Unknown {
			continue
		}
		c := specOf(pod, st.Name)
		if c != nil && life.Sidecar(c) {
			continue
		}
		wg.Add(1)
		mainGroup.Add(1)
		go func() { defer mainGroup.Done(); stop(c, st, nil, nil) }()
	}
	go func() { mainGroup.Wait(); close(mains) }()
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		if st := obs.Latest(c.Name); life.Sidecar(c) && st != nil && (st.State == life.Running || st.State == life.Unknown) {
			sidecars, specs = append(sidecars, st), append(specs, c)
		}
	}
	turn := (<-chan struct{})(mains)
	for i := len(sidecars) - 1; i >= 0; i-- {
		over := make(chan struct{})
		wg.Add(1)
		go stop(specs[i], sidecars[i], turn, over)
		turn = over
	}
	wg.Wait()
	if len(errs) > 0 || ctx.Err() != nil {
		return errors.Join(append(errs, ctx.Err())...)
	}
	for _, s := range obs.Sandboxes {
		if !s.Ready && !replace {
			continue
		}
		if _, err := a.cfg.Runtime.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: s.ID}); err != nil && !notFound(err) {
			return fmt.Errorf("stop sandbox %s: %w", s.ID, plain(err))
		}
		w.rereadSandbox(context.WithoutCancel(ctx), s.ID)
	}
	return nil
}

func specOf(pod *corev1.Pod, name string) *corev1.Container {
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if pod.Spec.EphemeralContainers[i].Name == name {
			c := corev1.Container(pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
			return &c
		}
	}
	return nil
}

// stopContainer runs the preStop hook and stops the container, both within grace seconds. turn, if not nil, is waited for
// between the two. c may be nil.
func (w *worker) stopContainer(ctx context.Context, pod *corev1.Pod, c *corev1.Container, st *life.Container, grace int64, message string, turn <-chan struct{}) error {
	a := w.agent
	if message == "" {
		message = "Stopping container " + st.Name
	}
	w.event(pod, st.Name, corev1.EventTypeNormal, "Killing", message)
	a.probes.Quiet(st.ID)
	began := a.cfg.Clock.Now()
	left := func() int64 { return grace - int64(a.cfg.Clock.Since(began)/time.Second) }
	if c != nil && c.Lifecycle != nil && c.Lifecycle.PreStop != nil && st.State == life.Running && grace > 0 && w.once(st.ID) {
		hctx, cancel := context.WithCancel(ctx)
		timer := a.wheel.At(began.Add(time.Duration(grace)*time.Second), cancel)
		var ips []string
		if sb := w.observed().Sandbox(); sb != nil {
			ips = sb.IPs
		}
		if pod.Spec.HostNetwork {
			ips = a.hostIPs()
		}
		if err := w.hook(hctx, pod, c, st.ID, c.Lifecycle.PreStop, ips); err != nil && ctx.Err() == nil {
			w.event(pod, st.Name, corev1.EventTypeWarning, "FailedPreStopHook", fmt.Sprintf("PreStopHook failed: %v", err))
		}
		timer.Stop()
		cancel()
	}
	if turn != nil {
		select {
		case <-turn:
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	timeout := left()
	if timeout < leastAfterHook && timeout < grace {
		timeout = leastAfterHook
	}
	if _, err := a.cfg.Runtime.StopContainer(ctx, &runtimeapi.StopContainerRequest{ContainerId: st.ID, Timeout: max(timeout, 0)}); err != nil && !notFound(err) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("stop container %s of pod %s: %w", st.Name, podName(pod), plain(err))
	}
	w.reread(context.WithoutCancel(ctx), st.ID)
	return nil
}

// once tells whether a container's preStop hook has still to be run, and remembers that it is.
func (w *worker) once(id string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.hooked[id] {
		return false
	}
	if w.hooked == nil {
		w.hooked = map[string]bool{}
	}
	w.hooked[id] = true
	return true
}

// hook runs one life cycle handler to its end.
func (w *worker) hook(ctx context.Context, pod *corev1.Pod, c *corev1.Container, id string, h *corev1.LifecycleHandler, ips []string) error {
	return w.agent.runHook(ctx, pod, c, id, h, ips)
}
