package nodeagent

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"nau/internal/nodeagent/life"
)

// publish computes the pod's status and has it written if it is another than the API server's. plan may be nil.
func (w *worker) publish(pod *corev1.Pod, plan *life.Plan) {
	a := w.agent
	waiting := map[string]life.Wait{}
	if plan != nil {
		for name, x := range plan.Waiting {
			waiting[name] = x
		}
	}
	for name, x := range w.waiting {
		waiting[name] = x
	}
	s := life.Status(&life.StatusInput{Pod: pod, Observed: w.observed(), Health: w.health(), Waiting: waiting, End: w.end, Stopped: w.stopped,
		HostIPs: a.hostIPs(), RuntimeName: a.runtimeName, Applied: w.appliedResources(pod), Resize: w.resize, Now: a.cfg.Clock.Now()})
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gone {
		return
	}
	w.sent = &s
	if w.writing {
		w.pending = &s // the writer looks whether that is still news
		return
	}
	wait, write := life.Urgency(&w.viewLocked().Status, &s, w.stopped || len(waiting) > 0 || w.failures > 0)
	if !write {
		w.pendingStop.Stop()
		w.pending, w.pendingStop = nil, nil
		return
	}
	w.pending = &s
	switch at := a.cfg.Clock.Now().Add(wait); {
	case wait == 0:
		w.flushLocked()
	case w.pendingStop == nil || at.Before(w.pendingAt): // else the lazy write that waits takes this one
		w.pendingStop.Stop()
		w.pendingAt, w.pendingStop = at, a.wheel.At(at, w.flush)
	}
}

// reprobe tells at once what probes say, also while the round stops a container that takes its time, runs a hook or pulls
// an image: services must not send to a pod that is not ready. Then a round follows.
func (w *worker) reprobe() {
	health := w.health()
	w.mu.Lock()
	if w.cancel != nil && w.sent != nil && !w.gone {
		if s := life.Reprobed(w.viewLocked(), w.sent, health, w.agent.cfg.Clock.Now()); !life.Same(s, w.sent) {
			w.sent, w.pending = s, s
			w.flushLocked()
		}
	}
	w.mu.Unlock()
	w.kick()
}

func (w *worker) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flushLocked()
}

// flushLocked begins to write what is pending, unless that goes on already.
func (w *worker) flushLocked() {
	w.pendingStop.Stop()
	w.pendingStop = nil
	if w.pending == nil || w.writing {
		return
	}
	w.writing = true
	go w.write()
}

// write writes until nothing newer is pending.
func (w *worker) write() {
	a, ctx := w.agent, w.agent.ctx
	delay := 50 * time.Millisecond
	for {
		w.mu.Lock()
		s := w.pending
		w.pending = nil
		view := w.viewLocked()
		if s != nil {
			if s = life.Kept(s, &view.Status); life.Same(s, &view.Status) {
				s = nil
			}
		}
		if s == nil || ctx.Err() != nil || w.gone || w.static && w.mirror == nil {
			w.writing = false
			stopped := w.stopped
			w.mu.Unlock()
			if stopped && ctx.Err() == nil {
				w.kick()
			}
			return
		}
		newest := w.pod
		if w.base != nil {
			newest = w.base
		}
		w.mu.Unlock()
		got, err := a.writeStatus(ctx, newest, s)
		a.stats.statusWrites.Add(1)
		w.mu.Lock()
		switch {
		case err == nil:
			delay = 50 * time.Millisecond
			if w.static || version(got) >= version(w.pod) {
				w.base = got
			}
		case isGone(err):
		default:
			if w.pending == nil {
				w.pending = s
			}
			w.mu.Unlock()
			a.cfg.Log.Warn("write pod status", "pod", podName(view), "err", err)
			select {
			case <-ctx.Done():
			case <-a.cfg.Clock.After(delay):
				delay = min(2*delay, 5*time.Second)
			}
			continue
		}
		w.mu.Unlock()
	}
}

// isGone tells that the object that was meant is no longer there.
func isGone(err error) bool { return apierrors.IsNotFound(err) || apierrors.IsConflict(err) }

// writeStatus makes s the status of pod, which is as the agent knows it. Where that is the API server's version too, as a rule,
// the whole object goes there and is stored; where somebody else has written meanwhile, what the agent changed is patched in.
func (a *Agent) writeStatus(ctx context.Context, pod *corev1.Pod, s *corev1.PodStatus) (*corev1.Pod, error) {
	p := *pod
	p.Status = *s
	got, err := a.cfg.Client.CoreV1().Pods(p.Namespace).UpdateStatus(ctx, &p, metav1.UpdateOptions{})
	if apierrors.IsConflict(err) {
		return a.patchStatus(ctx, p.Namespace, p.Name, p.UID, &pod.Status, s)
	}
	return got, err
}

// patchStatus changes what differs between old and s, of the pod with this uid only.
func (a *Agent) patchStatus(ctx context.Context, ns, name string, uid types.UID, old, s *corev1.PodStatus) (*corev1.Pod, error) {
	type doc struct {
		Metadata struct {
			UID types.UID `json:"uid"`
		} `json:"metadata"`
		Status *corev1.PodStatus `json:"status"`
	}
	var from, to doc
	from.Status, to.Status = old, s
	b1, err := json.Marshal(from)
	if err != nil {
		return nil, fmt.Errorf("encode status: %w", err)
	}
	to.Metadata.UID = uid
	b2, err := json.Marshal(to)
	if err != nil {
		return nil, fmt.Errorf("encode status: %w", err)
	}
	patch, err := strategicpatch.CreateTwoWayMergePatch(b1, b2, corev1.Pod{})
	if err != nil {
		return nil, fmt.Errorf("compare statuses: %w", err)
	}
	return a.cfg.Client.CoreV1().Pods(ns).Patch(ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
}

func (a *Agent) hostIPs() []string {
	out := make([]string, len(a.cfg.NodeIPs))
	for i, ip := range a.cfg.NodeIPs {
		out[i] = ip.String()
	}
	return out
}
