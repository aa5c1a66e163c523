package nodeagent

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nau/internal/nodeagent/admit"
	"nau/internal/nodeagent/life"
	"nau/internal/nodeagent/refs"
	"nau/internal/nodeagent/runspec"
)

// round looks, decides, reports and acts once.
func (w *worker) round(ctx context.Context) {
	a := w.agent
	now := a.cfg.Clock.Now()
	if !w.wakeAt.IsZero() && !now.Before(w.wakeAt) {
		w.wakeAt, w.wake = time.Time{}, nil
	}
	w.refresh(ctx)
	pod := w.view()
	if w.stopped {
		w.finish(ctx)
		return
	}
	if w.end == nil {
		w.end = w.ending(ctx, pod, now)
	}
	if w.gone || pod.DeletionTimestamp != nil || w.end != nil {
		w.terminate(ctx, pod)
		return
	}
	if w.cleaned { // a static pod that was taken away and came back
		w.cleaned = false
	}
	if !w.static {
		a.refs.Hold(w.uid, refs.Of(pod))
	}
	w.watchHealth(pod)
	w.grant()
	pod = w.view()
	plan := life.Decide(&life.Input{Pod: pod, Observed: w.observed(), Health: w.health(), BackOffs: w.backoffs, Hash: runspec.Hash, Now: now})
	w.tellCrashes(pod, plan)
	w.apply(ctx, pod, plan)
	if !w.replacing || len(plan.Start) == 0 { // a container that is replaced at once is not told of as gone
		w.publish(pod, plan)
	}
	w.replacing = false
	w.act(ctx, pod, plan)
	if w.sent != nil && pod.Status.StartTime == nil {
		p := *pod
		p.Status.StartTime = w.sent.StartTime
		pod = &p
	}
	w.again(life.Deadline(pod))
}

// ending tells whether the node ends the pod of its own accord.
func (w *worker) ending(ctx context.Context, pod *corev1.Pod, now time.Time) *life.End {
	if p := pod.Status.Phase; p == corev1.PodSucceeded || p == corev1.PodFailed {
		return &life.End{Phase: p, Reason: pod.Status.Reason, Message: pod.Status.Message}
	}
	if d := life.Deadline(pod); !d.IsZero() && !now.Before(d) {
		w.event(pod, "", corev1.EventTypeNormal, "DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
		return &life.End{Phase: corev1.PodFailed, Reason: "DeadlineExceeded", Message: "Pod was active on the node longer than the specified deadline"}
	}
	if w.admitted || len(w.observed().Sandboxes) > 0 {
		w.mu.Lock()
		w.admitted = true
		w.mu.Unlock()
		return nil
	}
	if pod.DeletionTimestamp != nil || w.gone {
		return nil
	}
	a := w.agent
	a.admission.Lock()
	defer a.admission.Unlock()
	if !w.static {
		n := &admit.Node{Object: a.node.Object(), Allocatable: a.node.Allocatable(), AllowedSysctls: a.cfg.AllowedSysctls}
		if no := admit.Admit(pod, n, a.admitted(w.uid)); no != nil {
			w.event(pod, "", corev1.EventTypeWarning, no.Reason, no.Message)
			return &life.End{Phase: corev1.PodFailed, Reason: no.Reason, Message: "Pod was rejected: " + no.Message}
		}
	}
	w.mu.Lock()
	w.admitted = true
	w.mu.Unlock()
	a.stats.podsStarted.Add(1)
	a.weighBurstable()
	return nil
}

// health collects what probes say of running containers.
func (w *worker) health() map[string]life.Health {
	var out map[string]life.Health
	for _, c := range w.observed().Containers {
		if c.State != life.Running {
			continue
		}
		if h, ok := w.agent.probes.Health(c.ID); ok {
			if out == nil {
				out = map[string]life.Health{}
			}
			out[c.ID] = h
		}
	}
	return out
}

// watchHealth begins to probe containers that run and are not probed yet.
func (w *worker) watchHealth(pod *corev1.Pod) {
	a, obs := w.agent, w.observed()
	sb := obs.Sandbox()
	if sb == nil {
		return
	}
	each := func(list []corev1.Container, status []corev1.ContainerStatus, init bool) {
		for i := range list {
			c := &list[i]
			if init && !life.Sidecar(c) || c.StartupProbe == nil && c.LivenessProbe == nil && c.ReadinessProbe == nil {
				continue
			}
			st := obs.In(sb.ID, c.Name)
			if st == nil || st.State != life.Running {
				continue
			}
			var before *life.Health
			for j := range status {
				if s := &status[j]; s.Name == c.Name && s.ContainerID == a.runtimeName+"://"+st.ID && s.State.Running != nil {
					before = &life.Health{Started: s.Started != nil && *s.Started, Ready: s.Ready}
				}
			}
			a.probes.Watch(a.ctx, pod, c, st.ID, w.probeIP(pod, sb), st.Started, before)
		}
	}
	each(pod.Spec.InitContainers, pod.Status.InitContainerStatuses, true)
	each(pod.Spec.Containers, pod.Status.ContainerStatuses, false)
}

// probeIP is where the node reaches the pod.
func (w *worker) probeIP(pod *corev1.Pod, sb *life.Sandbox) string {
	if pod.Spec.HostNetwork {
		return w.agent.cfg.NodeIPs[0].String()
	}
	if len(sb.IPs) > 0 {
		return sb.IPs[0]
	}
	return ""
}

// tellCrashes makes one event a wait for a restart.
func (w *worker) tellCrashes(pod *corev1.Pod, plan *life.Plan) {
	for name, wait := range plan.Waiting {
		c := w.observed().Latest(name)
		if wait.Reason != "CrashLoopBackOff" || c == nil {
			continue
		}
		if w.crashing == nil {
			w.crashing = map[string]uint32{}
		}
		if told, ok := w.crashing[name]; ok && told == c.Attempt {
			continue
		}
		w.crashing[name] = c.Attempt
		w.event(pod, name, corev1.EventTypeWarning, "BackOff", fmt.Sprintf("Back-off restarting failed container %s in pod %s", name, podName(pod)))
	}
}

// terminate ends the pod: its containers, then what it has on the node, then its record.
func (w *worker) terminate(ctx context.Context, pod *corev1.Pod) {
	a, obs := w.agent, w.observed()
	alive := false
	for _, c := range obs.Containers {
		alive = alive || c.State == life.Running || c.State == life.Unknown
	}
	for _, s := range obs.Sandboxes {
		alive = alive || s.Ready
	}
	if alive {
		w.publish(pod, nil)
		if err := w.kill(ctx, pod, w.graceOf(pod)); err != nil {
			if ctx.Err() == nil {
				w.fail(a.cfg.Clock.Now())
				w.event(pod, "", corev1.EventTypeWarning, "FailedKillPod", fmt.Sprintf("error killing pod: %v", err))
			}
			return
		}
		for _, c := range w.observed().Containers {
			if c.State == life.Running {
				w.kickLater()
				return
			}
		}
	}
	w.mu.Lock()
	w.stopped = true
	w.mu.Unlock()
	w.finish(ctx)
}

// kickLater makes another round follow this one.
func (w *worker) kickLater() {
	w.mu.Lock()
	w.dirty = true
	w.mu.Unlock()
}

// graceOf is how long the pod's containers may take to end, in seconds, one at least.
func (w *worker) graceOf(pod *corev1.Pod) int64 {
	switch {
	case pod.DeletionGracePeriodSeconds != nil:
		return max(*pod.DeletionGracePeriodSeconds, 1)
	case pod.Spec.TerminationGracePeriodSeconds != nil:
		return max(*pod.Spec.TerminationGracePeriodSeconds, 1)
	}
	return 30
}

// finish is reached when nothing of the pod runs: the last status is written, then the node's things are removed, then the
// object, then, when the object is gone, the records in the runtime and the logs.
func (w *worker) finish(ctx context.Context) {
	a := w.agent
	pod := w.view()
	for _, c := range w.observed().Containers {
		a.probes.Forget(c.ID)
	}
	if !w.gone {
		w.publish(pod, nil)
	}
	if !w.cleaned {
		if err := w.clean(pod); err != nil {
			a.cfg.Log.Warn("clean up after pod", "pod", podName(pod), "err", err)
			w.fail(a.cfg.Clock.Now())
			return
		}
		w.cleaned = true
		a.weighBurstable()
		a.reconsider(w)
	}
	w.mu.Lock()
	busy, gone := w.writing || w.pending != nil, w.gone
	deleting := w.pod.DeletionTimestamp != nil
	w.mu.Unlock()
	switch {
	case gone:
		if err := w.erase(ctx, pod); err != nil {
			a.cfg.Log.Warn("erase pod", "pod", podName(pod), "err", err)
			w.fail(a.cfg.Clock.Now())
			return
		}
		w.wake.Stop()
		a.forget(w)
	case busy || !deleting || w.deleted || w.static:
	default:
		zero := int64(0)
		uid := types.UID(w.uid)
		err := a.cfg.Client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &zero, Preconditions: &metav1.Preconditions{UID: &uid}})
		if err != nil && !isGone(err) {
			a.cfg.Log.Warn("delete pod", "pod", podName(pod), "err", err)
			w.fail(a.cfg.Clock.Now())
			return
		}
		w.deleted = true
	}
}

// clean removes what the node holds for a pod that has ended; logs and dead containers stay until the pod is gone.
func (w *worker) clean(pod *corev1.Pod) error {
	a := w.agent
	if err := a.volumes.Unmount(w.uid); err != nil {
		return err
	}
	if a.cgroups != nil {
		if err := a.cgroups.Remove(pod); err != nil {
			return err
		}
	}
	if a.refs != nil {
		a.refs.Release(w.uid)
	}
	w.mounts, w.sandbox = nil, nil
	return nil
}

// erase removes the pod's records and logs.
func (w *worker) erase(ctx context.Context, pod *corev1.Pod) error {
	a, obs := w.agent, w.observed()
	for _, c := range obs.Containers {
		if _, err := a.cfg.Runtime.RemoveContainer(ctx, &runtimeapi.RemoveContainerRequest{ContainerId: c.ID}); err != nil && !notFound(err) {
			return fmt.Errorf("remove container %s: %w", c.ID, err)
		}
	}
	for _, s := range obs.Sandboxes {
		if _, err := a.cfg.Runtime.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: s.ID}); err != nil && !notFound(err) {
			return fmt.Errorf("remove sandbox %s: %w", s.ID, err)
		}
	}
	if a.cfg.Simulated {
		return nil
	}
	return removeLogs(a.cfg.LogDir, pod)
}
