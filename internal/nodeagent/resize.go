package nodeagent

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"nau/internal/nodeagent/admit"
	"nau/internal/nodeagent/life"
	"nau/internal/nodeagent/runspec"
)

// A running pod's resources are known three times: as its spec asks for them, as the node has granted them (worker.granted
// while that is something else), and as the runtime was last told (worker.applied). A round grants, then applies.
// Source: KEP-1287.

// applied is what the runtime was last told of one container.
type applied struct {
	runtime   string // in the runtime's terms, pod-level limits included
	resources corev1.ResourceRequirements
}

func terms(r *runtimeapi.LinuxContainerResources) string {
	return fmt.Sprint(r.GetCpuShares(), r.GetCpuQuota(), r.GetMemoryLimitInBytes())
}

// grant lets the pod have what its spec asks for, if the node has room for it; else the pod keeps what it has.
func (w *worker) grant() {
	a := w.agent
	w.mu.Lock()
	asked, granted := w.pod, w.granted
	w.mu.Unlock()
	w.resize = nil
	if granted == nil {
		return
	}
	a.admission.Lock()
	defer a.admission.Unlock()
	if !life.SameResources(asked, granted) {
		n := &admit.Node{Allocatable: a.node.Allocatable()}
		if no := admit.Resize(asked, n, a.admitted(w.uid)); no != nil {
			w.resize = []corev1.PodCondition{{Type: corev1.PodResizePending, Status: corev1.ConditionTrue, Reason: no.Reason, Message: no.Message}}
			return
		}
	}
	w.mu.Lock()
	if w.pod == asked {
		w.granted = nil
	}
	w.mu.Unlock()
	a.weighBurstable()
	a.reconsider(w)
}

// reconsider makes the workers look again whose pods wait for room that w may have made.
func (a *Agent) reconsider(w *worker) {
	a.mu.Lock()
	list := make([]*worker, 0, len(a.workers))
	for _, other := range a.workers {
		if other != w {
			list = append(list, other)
		}
	}
	a.mu.Unlock()
	for _, other := range list {
		other.mu.Lock()
		waits := other.granted != nil
		other.mu.Unlock()
		if waits {
			other.kick()
		}
	}
}

// resizing is one running container that has other resources than it is granted.
type resizing struct {
	spec *corev1.Container
	is   *life.Container
	want *runtimeapi.LinuxContainerResources
	had  corev1.ResourceRequirements
}

// apply gives running containers what the pod is granted. Those that have to be restarted for it are put into the plan.
func (w *worker) apply(ctx context.Context, pod *corev1.Pod, plan *life.Plan) {
	a, sb := w.agent, w.observed().Sandbox()
	if sb == nil || plan.KillAll || plan.NewSandbox || plan.Done {
		return
	}
	list := w.resizings(pod, sb)
	if len(list) == 0 {
		return
	}
	// The pod's cgroup is never narrower than a container's in it, before, during or after the change.
	err := w.bound(life.Widest(pod, func(name string) corev1.ResourceRequirements {
		if i := slices.IndexFunc(list, func(r resizing) bool { return r.spec.Name == name }); i >= 0 {
			return list[i].had
		}
		return corev1.ResourceRequirements{}
	}))
	restarts := 0
	for _, r := range list {
		if err != nil || slices.ContainsFunc(plan.Stop, func(s life.Stop) bool { return s.Container == r.is }) {
			continue
		}
		if restartsOnResize(r.spec, r.is.Resources, r.want) {
			restarts++
			plan.Stop = append(plan.Stop, life.Stop{Container: r.is, Spec: r.spec, Reason: "resize",
				Message: fmt.Sprintf("Container %s resize requires restart", r.spec.Name)})
			continue
		}
		if _, err = a.cfg.Runtime.UpdateContainerResources(ctx, &runtimeapi.UpdateContainerResourcesRequest{ContainerId: r.is.ID, Linux: r.want}); err == nil {
			w.applied[r.is.ID] = applied{terms(r.want), r.spec.Resources}
			w.reread(ctx, r.is.ID)
		}
	}
	if err == nil && restarts == 0 {
		err = w.bound(pod)
	}
	if err == nil && restarts == 0 {
		return
	}
	cond := corev1.PodCondition{Type: corev1.PodResizeInProgress, Status: corev1.ConditionTrue}
	if err != nil {
		a.cfg.Log.Warn("resize pod", "pod", podName(pod), "err", err)
		cond.Reason, cond.Message = corev1.PodReasonError, err.Error()
		w.fail(a.cfg.Clock.Now())
	}
	w.resize = append(w.resize, cond)
}

// bound brings the pod's own cgroup up to date.
func (w *worker) bound(pod *corev1.Pod) error {
	if w.agent.cgroups == nil {
		return nil
	}
	return w.agent.cgroups.Ensure(pod)
}

func (w *worker) resizings(pod *corev1.Pod, sb *life.Sandbox) (out []resizing) {
	a, obs := w.agent, w.observed()
	look := func(c *corev1.Container) {
		st := obs.In(sb.ID, c.Name)
		if st == nil || st.State != life.Running {
			return
		}
		want := runspec.Resources(pod, c, a.host.Memory, a.host.Unified)
		last, ok := w.applied[st.ID]
		if !ok {
			// Another life of this agent started it: the API server knows with what.
			last = applied{terms(want), life.Recorded(pod, c, a.runtimeName+"://"+st.ID)}
			if w.applied == nil {
				w.applied = map[string]applied{}
			}
			w.applied[st.ID] = last
		}
		if last.runtime != terms(want) || !life.SameSizes(&last.resources, &c.Resources) {
			out = append(out, resizing{c, st, want, last.resources})
		}
	}
	for i := range pod.Spec.InitContainers {
		if life.Sidecar(&pod.Spec.InitContainers[i]) {
			look(&pod.Spec.InitContainers[i])
		}
	}
	for i := range pod.Spec.Containers {
		look(&pod.Spec.Containers[i])
	}
	return out
}

func restartsOnResize(c *corev1.Container, have, want *runtimeapi.LinuxContainerResources) bool {
	if have == nil {
		return false
	}
	for _, p := range c.ResizePolicy {
		if p.RestartPolicy != corev1.RestartContainer {
			continue
		}
		if p.ResourceName == corev1.ResourceCPU && (have.CpuShares != want.CpuShares || have.CpuQuota != want.CpuQuota) ||
			p.ResourceName == corev1.ResourceMemory && have.MemoryLimitInBytes != want.MemoryLimitInBytes {
			return true
		}
	}
	return false
}

// appliedResources is what running containers have, by name, where that is not what they are granted.
func (w *worker) appliedResources(pod *corev1.Pod) map[string]corev1.ResourceRequirements {
	var out map[string]corev1.ResourceRequirements
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			c := &list[i]
			st := w.observed().Latest(c.Name)
			if st == nil || st.State != life.Running {
				continue
			}
			if last, ok := w.applied[st.ID]; ok && !life.SameSizes(&last.resources, &c.Resources) {
				if out == nil {
					out = map[string]corev1.ResourceRequirements{}
				}
				out[c.Name] = corev1.ResourceRequirements{Limits: last.resources.Limits, Requests: last.resources.Requests}
			}
		}
	}
	return out
}
