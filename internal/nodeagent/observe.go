package nodeagent

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nau/internal/nodeagent/life"
	"nau/internal/nodeagent/logs"
	"nau/internal/nodeagent/runspec"
)

// followRuntime keeps the agent informed of the runtime by its events. known is closed after the first full look.
func (a *Agent) followRuntime(ctx context.Context, known chan struct{}) {
	delay, first := 50*time.Millisecond, true
	for ctx.Err() == nil {
		stream, err := a.cfg.Runtime.GetContainerEvents(ctx, &runtimeapi.GetEventsRequest{})
		if err == nil {
			if err = a.lookAtAll(ctx); err == nil {
				delay = 50 * time.Millisecond
				if first {
					first = false
					close(known)
				}
				a.node.RuntimeUp(nil)
			}
		}
		for err == nil {
			var ev *runtimeapi.ContainerEventResponse
			if ev, err = stream.Recv(); err == nil {
				w := a.worker(ev.GetPodSandboxStatus().GetMetadata().GetUid())
				if reached, news := reachedBy(ev.ContainerEventType); w != nil && news {
					w.touch(ev.ContainerId, reached)
				}
			}
		}
		if ctx.Err() != nil {
			return
		}
		if status.Code(err) == codes.Unimplemented {
			if err = a.lookOften(ctx, func() {
				if first {
					first = false
					close(known)
				}
			}); ctx.Err() != nil {
				return
			}
		}
		a.node.RuntimeUp(err)
		a.cfg.Log.Warn("runtime's events ended", "err", err)
		select {
		case <-ctx.Done():
		case <-a.cfg.Clock.After(delay):
			delay = min(2*delay, 5*time.Second)
		}
	}
}

// reachedBy is the state that an event tells of. Creations are this agent's own and no news.
func reachedBy(t runtimeapi.ContainerEventType) (life.ContainerState, bool) {
	switch t {
	case runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT:
		return life.Running, true
	case runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT:
		return life.Exited, true
	case runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT:
		return life.Unknown, true
	}
	return life.Unknown, false
}

// lookPeriod is how often a runtime that sends no events (containerd before 1.7) is looked at. CRI tells no process ids that could be waited for instead;
// the cost is two lists a second whatever the number of pods, and details are read of what has changed only.
const lookPeriod = time.Second

// lookOften stands in for events where the runtime has none: states are listed, and what differs is read. It returns when
// the runtime does not answer any more.
func (a *Agent) lookOften(ctx context.Context, seen func()) error {
	if err := a.lookAtAll(ctx); err != nil {
		return err
	}
	seen()
	a.node.RuntimeUp(nil)
	a.cfg.Log.Info("the runtime sends no events: its containers are listed each second")
	for a.sleep(ctx, lookPeriod) {
		boxes, err := a.cfg.Runtime.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
		if err != nil {
			return err
		}
		containers, err := a.cfg.Runtime.ListContainers(ctx, &runtimeapi.ListContainersRequest{})
		if err != nil {
			return err
		}
		states := map[string]string{}
		for _, b := range boxes.Items {
			states[b.Id] = sandboxState(b.State == runtimeapi.PodSandboxState_SANDBOX_READY)
		}
		for _, c := range containers.Containers {
			states[c.Id] = containerState(c.State).String()
		}
		a.mu.Lock()
		list := make([]*worker, 0, len(a.workers))
		for _, w := range a.workers {
			list = append(list, w)
		}
		a.mu.Unlock()
		for _, w := range list {
			o := w.observed()
			for _, b := range o.Sandboxes {
				if states[b.ID] != sandboxState(b.Ready) {
					w.touch(b.ID, life.Unknown)
				}
			}
			for _, c := range o.Containers {
				if states[c.ID] != c.State.String() {
					w.touch(c.ID, life.Unknown)
				}
			}
		}
	}
	return ctx.Err()
}

func sandboxState(ready bool) string {
	if ready {
		return "ready"
	}
	return "not ready"
}

func (a *Agent) sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-a.cfg.Clock.After(d):
		return true
	}
}

// lookAtAll lists what the runtime has and tells the workers; what belongs to no worker yet waits for its pod.
func (a *Agent) lookAtAll(ctx context.Context) error {
	v, err := a.cfg.Runtime.Version(ctx, &runtimeapi.VersionRequest{})
	if err != nil {
		return err
	}
	a.runtimeName = v.RuntimeName
	boxes, err := a.cfg.Runtime.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
	if err != nil {
		return err
	}
	containers, err := a.cfg.Runtime.ListContainers(ctx, &runtimeapi.ListContainersRequest{})
	if err != nil {
		return err
	}
	all := map[string]*life.Observed{}
	of := func(uid string) *life.Observed {
		if all[uid] == nil {
			all[uid] = &life.Observed{}
		}
		return all[uid]
	}
	for _, b := range boxes.Items {
		if uid := b.Labels[runspec.LabelUID]; uid != "" {
			if s := a.readSandbox(ctx, b.Id); s != nil {
				of(uid).Sandboxes = append(of(uid).Sandboxes, s)
			}
		}
	}
	for _, c := range containers.Containers {
		if uid := c.Labels[runspec.LabelUID]; uid != "" {
			if s := a.readContainer(ctx, c.Id); s != nil {
				s.Name, s.Attempt = c.GetMetadata().GetName(), c.GetMetadata().GetAttempt()
				s.Sandbox = c.PodSandboxId
				of(uid).Containers = append(of(uid).Containers, s)
			}
		}
	}
	for _, o := range all {
		o.Sort()
	}
	a.mu.Lock()
	workers := make([]*worker, 0, len(a.workers))
	for uid, w := range a.workers {
		if all[uid] == nil {
			all[uid] = &life.Observed{}
		}
		w.mu.Lock()
		w.found(all[uid])
		w.mu.Unlock()
		delete(all, uid)
		workers = append(workers, w)
	}
	a.found = all
	a.mu.Unlock()
	for _, w := range workers {
		w.kick()
	}
	return nil
}

// found replaces what is known of the pod's records; mu is held. Records read meanwhile by the worker itself stay.
func (w *worker) found(o *life.Observed) {
	if w.running { // the worker re-reads each record itself
		if w.stale == nil {
			w.stale = map[string]life.ContainerState{}
		}
		if w.obs != nil {
			for _, s := range w.obs.Sandboxes {
				w.stale[s.ID] = life.Unknown
			}
			for _, c := range w.obs.Containers {
				w.stale[c.ID] = life.Unknown
			}
		}
		return
	}
	w.obs = o
	w.tellEnded()
}

// refresh reads again what events have said is old. Only the worker's goroutine calls it.
func (w *worker) refresh(ctx context.Context) {
	w.mu.Lock()
	stale := w.stale
	w.stale = nil
	if w.obs == nil {
		w.obs = &life.Observed{}
	}
	obs := w.obs
	w.mu.Unlock()
	for id, reached := range stale {
		if s := find(obs.Sandboxes, func(s *life.Sandbox) bool { return s.ID == id }); s != nil {
			if reached == life.Unknown || s.Ready == (reached == life.Exited) {
				w.rereadSandbox(ctx, id)
			}
		} else if c := find(obs.Containers, func(c *life.Container) bool { return c.ID == id }); c != nil {
			if reached == life.Unknown || c.State != reached && c.State != life.Exited {
				w.reread(ctx, id)
			}
		}
		obs = w.observed()
	}
}

func find[T any](list []*T, ok func(*T) bool) *T {
	if i := slices.IndexFunc(list, ok); i >= 0 {
		return list[i]
	}
	return nil
}

func (w *worker) observed() *life.Observed {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.obs == nil {
		w.obs = &life.Observed{}
	}
	return w.obs
}

// change replaces the observation by a changed copy.
func (w *worker) change(f func(o *life.Observed)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	o := &life.Observed{}
	if w.obs != nil {
		o.Sandboxes, o.Containers = slices.Clone(w.obs.Sandboxes), slices.Clone(w.obs.Containers)
	}
	f(o)
	o.Sort()
	w.obs = o
	w.tellEnded()
}

// reread asks the runtime about one container; one that is gone is dropped.
func (w *worker) reread(ctx context.Context, id string) *life.Container {
	c := w.agent.readContainer(ctx, id)
	if c != nil && c.Name == "" { // the runtime did not answer: what is known stays until it does
		w.mu.Lock()
		if w.stale == nil {
			w.stale = map[string]life.ContainerState{}
		}
		w.stale[id] = life.Unknown
		w.mu.Unlock()
		w.again(w.agent.cfg.Clock.Now().Add(time.Second))
		return find(w.observed().Containers, func(c *life.Container) bool { return c.ID == id })
	}
	w.change(func(o *life.Observed) {
		i := slices.IndexFunc(o.Containers, func(c *life.Container) bool { return c.ID == id })
		switch {
		case i >= 0 && c == nil:
			o.Containers = slices.Delete(o.Containers, i, i+1)
		case i >= 0:
			c.Sandbox = o.Containers[i].Sandbox
			o.Containers[i] = c
		}
	})
	if c == nil || c.State != life.Running {
		w.agent.probes.Forget(id)
	}
	return c
}

func (w *worker) rereadSandbox(ctx context.Context, id string) *life.Sandbox {
	s := w.agent.readSandbox(ctx, id)
	w.change(func(o *life.Observed) {
		i := slices.IndexFunc(o.Sandboxes, func(s *life.Sandbox) bool { return s.ID == id })
		switch {
		case i >= 0 && s == nil:
			o.Sandboxes = slices.Delete(o.Sandboxes, i, i+1)
		case i >= 0:
			o.Sandboxes[i] = s
		case s != nil:
			o.Sandboxes = append(o.Sandboxes, s)
		}
	})
	return s
}

// readContainer returns nil for a container that the runtime does not have.
func (a *Agent) readContainer(ctx context.Context, id string) *life.Container {
	res, err := a.cfg.Runtime.ContainerStatus(ctx, &runtimeapi.ContainerStatusRequest{ContainerId: id})
	if err != nil {
		if status.Code(err) == codes.NotFound {
			return nil
		}
		return &life.Container{ID: id, State: life.Unknown, Reason: "ContainerStatusUnknown", Message: err.Error()}
	}
	s := res.Status
	c := &life.Container{ID: s.Id, Name: s.GetMetadata().GetName(), Attempt: s.GetMetadata().GetAttempt(), Created: moment(s.CreatedAt), Started: moment(s.StartedAt),
		Finished: moment(s.FinishedAt), ExitCode: s.ExitCode, Reason: s.Reason, Message: s.Message, Image: s.GetImage().GetImage(), ImageID: s.ImageRef,
		Hash: s.Annotations[runspec.AnnotationHash], Resources: s.GetResources().GetLinux(), User: s.GetUser().GetLinux(),
		StopSignal: runspec.StopSignalName(s.StopSignal)}
	if u := s.GetImage().GetUserSpecifiedImage(); u != "" && c.Image == "" {
		c.Image = u
	}
	if c.ImageID == "" {
		c.ImageID = s.ImageId
	}
	c.State = containerState(s.State)
	if c.State == life.Exited && !a.cfg.Simulated {
		c.Message = a.lastWords(s)
	}
	return c
}

func containerState(s runtimeapi.ContainerState) life.ContainerState {
	switch s {
	case runtimeapi.ContainerState_CONTAINER_CREATED:
		return life.Created
	case runtimeapi.ContainerState_CONTAINER_RUNNING:
		return life.Running
	case runtimeapi.ContainerState_CONTAINER_EXITED:
		return life.Exited
	}
	return life.Unknown
}

func moment(ns int64) time.Time {
	if ns <= 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}

// The limits of a termination message. Source: Container.terminationMessagePath and -Policy.
const (
	lastWordsMax  = 4096
	lastLogLines  = 80
	lastLogsBytes = 2048
)

// lastWords is the termination message of an exited container: its file, or the end of its log if it asks for that.
func (a *Agent) lastWords(s *runtimeapi.ContainerStatus) string {
	msg := ""
	if path := s.Annotations[runspec.AnnotationMessagePath]; path != "" {
		for _, m := range s.Mounts {
			if m.ContainerPath == path && m.HostPath != "" {
				msg = readFrom(m.HostPath, lastWordsMax)
			}
		}
	}
	if msg == "" && s.Annotations[runspec.AnnotationMessagePolicy] == string(corev1.TerminationMessageFallbackToLogsOnError) &&
		(s.ExitCode != 0 || s.Reason == "OOMKilled") && s.LogPath != "" {
		msg = logs.Tail(s.LogPath, lastLogLines, lastLogsBytes)
	}
	if msg == "" {
		return s.Message
	}
	return msg
}

func readFrom(path string, limit int) string {
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		return ""
	}
	defer f.Close()
	b := make([]byte, limit)
	n, _ := f.Read(b)
	return string(b[:n])
}

// readSandbox returns nil for a sandbox that the runtime does not have.
func (a *Agent) readSandbox(ctx context.Context, id string) *life.Sandbox {
	res, err := a.cfg.Runtime.PodSandboxStatus(ctx, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: id})
	if err != nil {
		if status.Code(err) == codes.NotFound {
			return nil
		}
		return &life.Sandbox{ID: id}
	}
	s := &life.Sandbox{ID: id, Attempt: res.Status.GetMetadata().GetAttempt(), Ready: res.Status.State == runtimeapi.PodSandboxState_SANDBOX_READY,
		Created: moment(res.Status.CreatedAt)}
	if ip := res.Status.GetNetwork().GetIp(); ip != "" {
		s.IPs = append(s.IPs, ip)
	}
	for _, ip := range res.Status.GetNetwork().GetAdditionalIps() {
		s.IPs = append(s.IPs, ip.Ip)
	}
	return s
}
