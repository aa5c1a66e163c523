package nodeagent

import (
	"context"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"nau/internal/nodeagent/life"
	"nau/internal/nodeagent/runspec"
	"nau/internal/nodeagent/volume"
	"nau/internal/nodeagent/wheel"
)

// worker does the work of one pod. The fields of the first group are guarded by mu; those of the second belong to the
// goroutine that runs rounds, of which there is one at most.
type worker struct {
	agent *Agent
	uid   string

	mu             sync.Mutex
	pod            *corev1.Pod // as last delivered; never changed
	granted        *corev1.Pod // a version whose resources the pod holds while those of pod are not granted; else nil
	base           *corev1.Pod // the API server's answer to a write, newer than pod; of a static pod the mirror; else nil
	gone           bool        // the API server no longer has it
	static         bool        // from a manifest: the API server has a mirror at most
	mirror         *corev1.Pod
	dirty, running bool
	stale          map[string]life.ContainerState // states that ids have reached; Unknown: look in any case
	cancel         context.CancelFunc
	grace          int64             // of the kill that goes on, -1: none
	pending        *corev1.PodStatus // to be written
	pendingStop    *wheel.Timer      // of a lazy write, nil: none waits
	pendingAt      time.Time         // when pendingStop fires
	writing        bool
	admitted       bool
	stopped        bool
	contents       bool              // what volumes show may have changed
	sent           *corev1.PodStatus // the last computed one
	obs            *life.Observed
	waiters        map[string]chan struct{} // closed when a container has ended, by its id

	end       *life.End
	backoffs  map[string]life.BackOff
	pulls     map[string]pull
	waiting   map[string]life.Wait // why containers could not be started
	crashing  map[string]uint32    // attempts whose back-off was told
	applied   map[string]applied   // by container id
	hooked    map[string]bool      // containers whose preStop hook has run
	mounts    map[string]volume.Source
	mountNext time.Time
	sandbox   *sandboxConfig
	replacing bool // a container was stopped to be started anew with another image or other resources
	cleaned   bool
	deleted   bool
	failures  int
	wake      *wheel.Timer
	wakeAt    time.Time
	resize    []corev1.PodCondition
}

type pull struct {
	backoff life.BackOff
	last    string
	told    bool // the back-off's event was made
}

func newWorker(a *Agent, uid string) *worker { return &worker{agent: a, uid: uid, grace: -1} }

// update takes a newer version of the pod.
func (w *worker) update(pod *corev1.Pod) {
	w.mu.Lock()
	old := w.pod
	if old != nil && version(old) > version(pod) {
		w.mu.Unlock()
		return
	}
	w.pod = pod
	switch {
	case old == nil:
		w.granted = life.Granted(pod)
		w.admitted = w.obs != nil && len(w.obs.Sandboxes) > 0 // in an earlier life of the agent
	case w.granted == nil && w.admitted && old.Generation != pod.Generation && !life.SameResources(old, pod):
		w.granted = old
	}
	if old != nil && !(sameMap(old.Labels, pod.Labels) && sameMap(old.Annotations, pod.Annotations)) {
		w.contents = true
	}
	if version(pod) >= version(w.base) {
		w.base = nil
	}
	// A pod that differs in nothing but the status that this agent wrote is no news.
	quiet := old != nil && old.Generation == pod.Generation && old.DeletionTimestamp.Equal(pod.DeletionTimestamp) && pod.Generation != 0 &&
		sameInt(old.DeletionGracePeriodSeconds, pod.DeletionGracePeriodSeconds) && sameMap(old.Labels, pod.Labels) && sameMap(old.Annotations, pod.Annotations) &&
		w.sent != nil && life.Same(w.sent, &pod.Status)
	interrupt := w.grace >= 0 && pod.DeletionGracePeriodSeconds != nil && *pod.DeletionGracePeriodSeconds < w.grace || w.grace < 0 && pod.DeletionTimestamp != nil && (old == nil || old.DeletionTimestamp == nil)
	if interrupt && w.cancel != nil {
		w.cancel()
	}
	w.mu.Unlock()
	if !quiet {
		w.kick()
	}
}

// vanish tells that the API server has no such pod any more.
func (w *worker) vanish(pod *corev1.Pod) {
	w.mu.Lock()
	w.gone = true
	if version(pod) >= version(w.pod) {
		w.pod = pod
	}
	if w.cancel != nil && w.grace < 0 {
		w.cancel()
	}
	w.mu.Unlock()
	w.kick()
}

// touch tells that a container or sandbox of the pod reached a state: it is read again unless it is known to be there.
func (w *worker) touch(id string, reached life.ContainerState) {
	w.mu.Lock()
	if w.stale == nil {
		w.stale = map[string]life.ContainerState{}
	}
	w.stale[id] = reached
	w.mu.Unlock()
	w.kick()
}

// renew tells that an object that the pod refers to has changed.
func (w *worker) renew() {
	w.mu.Lock()
	w.contents = true
	w.mu.Unlock()
	w.kick()
}

func (w *worker) kick() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dirty = true
	if w.running || w.pod == nil {
		return
	}
	w.running = true
	go w.rounds()
}

func (w *worker) rounds() {
	ctx := w.agent.ctx
	for {
		w.mu.Lock()
		if !w.dirty || ctx.Err() != nil {
			w.running = false
			w.mu.Unlock()
			return
		}
		w.dirty = false
		w.mu.Unlock()
		w.agent.stats.syncs.Add(1)
		w.round(ctx)
	}
}

// viewLocked is the pod with the resources that it holds and the newest status that is known to be the API server's.
func (w *worker) viewLocked() *corev1.Pod {
	pod := w.pod
	if w.granted != nil {
		pod = life.WithResources(pod, w.granted)
	}
	if w.base == nil {
		return pod
	}
	p := *pod
	p.Status = w.base.Status
	return &p
}

func (w *worker) view() *corev1.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.viewLocked()
}

// again asks for another round at t.
func (w *worker) again(t time.Time) {
	if t.IsZero() || !w.wakeAt.IsZero() && !t.Before(w.wakeAt) {
		return
	}
	w.wake.Stop()
	w.wakeAt, w.wake = t, w.agent.wheel.At(t, w.kick)
}

// action begins something that a deletion may interrupt.
func (w *worker) action(ctx context.Context, grace int64) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	w.mu.Lock()
	w.cancel, w.grace = cancel, grace
	// What came in between the round's begin and now counts as well.
	if grace < 0 && (w.gone || w.pod.DeletionTimestamp != nil) && !w.stopped {
		cancel()
	}
	w.mu.Unlock()
	return ctx, func() {
		w.mu.Lock()
		w.cancel, w.grace = nil, -1
		w.mu.Unlock()
		cancel()
	}
}

// fail remembers that an action failed, and asks for another try: after half a second, doubling to a minute.
func (w *worker) fail(now time.Time) {
	w.agent.stats.errors.Add(1)
	d := min(500*time.Millisecond<<min(w.failures, 7), time.Minute)
	w.failures++
	w.again(now.Add(d))
}

func version(p *corev1.Pod) uint64 {
	if p == nil {
		return 0
	}
	v, _ := strconv.ParseUint(p.ResourceVersion, 10, 64)
	return v
}

func sameInt(a, b *int64) bool { return a == b || a != nil && b != nil && *a == *b }

func sameMap(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return true
}

func podName(p *corev1.Pod) string { return runspec.Name(p) }
