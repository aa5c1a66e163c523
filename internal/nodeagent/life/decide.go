package life

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Kind tells which list of the spec a container stands in.
type Kind uint8

// The kinds, in the order in which a pod starts them.
const (
	Init Kind = iota
	App
	Ephemeral
)

// Input is all that a decision depends on.
type Input struct {
	Pod      *corev1.Pod
	Observed *Observed
	Health   map[string]Health // by container id; a container without an entry has no probes
	BackOffs map[string]BackOff
	Hash     func(*corev1.Container) string // nil: spec changes restart nothing
	Now      time.Time
}

// Start is one container to create and start. Attempt is its restart count.
type Start struct {
	Kind    Kind
	Spec    *corev1.Container // points into Input.Pod
	Target  string            // of an ephemeral container: the name of the container whose PID namespace it joins
	Attempt uint32
	BackOff BackOff // what to remember when the start is made; zero for a first start
}

// Stop is one container to stop; it is decided anew afterwards.
type Stop struct {
	Container *Container
	Spec      *corev1.Container // nil if the spec no longer has it
	Reason    string            // "liveness", "startup", "changed", "unknown", "restart-all"
	Message   string            // of the Killing event
	Grace     *int64            // the failed probe's own grace period, nil: the pod's
}

// Wait is why a container does not run.
type Wait struct{ Reason, Message string }

// Plan is what to do now, in the order of the fields, and when to ask again.
type Plan struct {
	Rule       string // name of the rule that made the plan; for logs and tests
	KillAll    bool   // stop every container (sidecars last) and the sandboxes
	NewSandbox bool
	Attempt    uint32 // of the new sandbox
	Done       bool   // nothing will run any more: the pod has reached its end
	Stop       []Stop
	Start      []Start
	Remove     []*Container // dead ones beyond one a name
	Waiting    map[string]Wait
	Wake       time.Time // zero: only events change the decision
}

// rules are tried in order; the first that answers makes the plan.
var rules = []struct {
	name string
	plan func(*Input) *Plan
}{
	{"sandbox is missing or dead", planSandbox},
	{"containers in the sandbox", planContainers},
}

// Decide makes the plan of a pod that is to run. Pods that are to end are not decided here: they are killed.
func Decide(in *Input) *Plan {
	for _, r := range rules {
		if p := r.plan(in); p != nil {
			if p.Rule == "" {
				p.Rule = r.name
			}
			p.Remove = excess(in.Observed)
			return p
		}
	}
	return &Plan{Rule: "nothing"}
}

// excess are dead containers that nobody asks about any more: per name the newest is kept for its status and one dead
// one before it for `logs --previous`.
func excess(o *Observed) (out []*Container) {
	seen := map[string]int{}
	for _, c := range o.Containers {
		seen[c.Name]++
		if c.State != Running && seen[c.Name] > 2 {
			out = append(out, c)
		}
	}
	return out
}

func planSandbox(in *Input) *Plan {
	sb := in.Observed.Sandbox()
	ready := 0
	for _, s := range in.Observed.Sandboxes {
		if s.Ready {
			ready++
		}
	}
	if sb != nil && sb.Ready && ready == 1 {
		return nil
	}
	if Finished(in.Pod, in.Observed) {
		return &Plan{Rule: "all containers have ended", KillAll: sb != nil, Done: true}
	}
	p := &Plan{Rule: "sandbox is missing", NewSandbox: true}
	if sb != nil {
		p.Rule, p.KillAll, p.Attempt = "sandbox is dead", true, sb.Attempt+1
	}
	return p
}

// Finished tells whether every container of the pod has ended and none is to run again, whatever the sandbox's state: an
// init container that failed for good ends the pod as well.
func Finished(pod *corev1.Pod, o *Observed) bool {
	sb := o.Sandbox()
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		if Sidecar(c) {
			continue
		}
		if st := o.Latest(c.Name); st != nil && st.State == Exited && st.ExitCode != 0 && !Restarts(pod, c, st.ExitCode, true) &&
			(sb == nil || st.Sandbox == sb.ID) {
			return true
		}
	}
	if len(pod.Spec.Containers) == 0 {
		return false
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		st := o.Latest(c.Name)
		if st == nil || st.State != Exited || Restarts(pod, c, st.ExitCode, false) {
			return false
		}
	}
	return true
}

// planContainers is reached with one ready sandbox.
func planContainers(in *Input) *Plan {
	pod, o, sb := in.Pod, in.Observed, in.Observed.Sandbox()
	p := &Plan{Waiting: map[string]Wait{}}
	if Finished(pod, o) {
		return &Plan{Rule: "all containers have ended", KillAll: true, Done: true}
	}
	if restartAll(in) {
		return &Plan{Rule: "a container's rule restarts the pod", KillAll: true, NewSandbox: true, Attempt: sb.Attempt + 1}
	}
	// Containers that the spec does not know cannot be ours to keep: only a changed static pod has them.
	initialised := false
	for i := range pod.Spec.Containers {
		if o.In(sb.ID, pod.Spec.Containers[i].Name) != nil {
			initialised = true
		}
	}
	if !planInit(in, p, initialised) {
		return p
	}
	for i := range pod.Spec.EphemeralContainers {
		e := &pod.Spec.EphemeralContainers[i]
		if o.Latest(e.Name) == nil {
			c := corev1.Container(e.EphemeralContainerCommon)
			p.Start = append(p.Start, Start{Kind: Ephemeral, Spec: &c, Target: e.TargetContainerName})
		}
	}
	for i := range pod.Spec.Containers {
		planOne(in, p, App, &pod.Spec.Containers[i], o.In(sb.ID, pod.Spec.Containers[i].Name))
	}
	return p
}

// restartAll tells whether a container of the current sandbox ended in a way that restarts the whole pod.
func restartAll(in *Input) bool {
	sb := in.Observed.Sandbox()
	for _, list := range [][]corev1.Container{in.Pod.Spec.InitContainers, in.Pod.Spec.Containers} {
		for i := range list {
			if st := in.Observed.In(sb.ID, list[i].Name); st != nil && st.State == Exited && RestartsAll(&list[i], st.ExitCode) {
				return true
			}
		}
	}
	return false
}

// planInit plans init containers and sidecars, and tells whether the app containers may be looked at. Each init container
// waits for the one before it: an ordinary one must have exited with 0, a sidecar must have started.
func planInit(in *Input, p *Plan, initialised bool) bool {
	pod, o, sb := in.Pod, in.Observed, in.Observed.Sandbox()
	last := -1 // the furthest init container that was ever created in this sandbox
	for i := range pod.Spec.InitContainers {
		if o.In(sb.ID, pod.Spec.InitContainers[i].Name) != nil {
			last = i
		}
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		st := o.In(sb.ID, c.Name)
		if !Sidecar(c) {
			if initialised || i < last && (st == nil || st.State == Exited) {
				continue // it has ended before; its record may be gone
			}
			if st != nil && st.State == Exited && st.ExitCode == 0 {
				continue
			}
			planOne(in, p, Init, c, st)
			return false
		}
		planOne(in, p, Init, c, st)
		passed := initialised || i < last
		if !passed && (st == nil || st.State != Running || !in.health(st).Started) {
			return false
		}
	}
	return true
}

func (in *Input) health(c *Container) Health {
	if h, ok := in.Health[c.ID]; ok {
		return h
	}
	return healthy
}

// planOne plans one container whose turn it is; st is its newest record in the current sandbox.
func planOne(in *Input, p *Plan, kind Kind, c *corev1.Container, st *Container) {
	latest := in.Observed.Latest(c.Name)
	if st == nil {
		if latest != nil && latest.State == Exited && kind == App && !Restarts(in.Pod, c, latest.ExitCode, false) {
			return // it ended for good in an earlier sandbox
		}
		p.start(in, kind, c, latest)
		return
	}
	switch st.State {
	case Running:
		h := in.health(st)
		switch {
		case in.Hash != nil && st.Hash != "" && st.Hash != in.Hash(c):
			p.Stop = append(p.Stop, Stop{Container: st, Spec: c, Reason: "changed",
				Message: fmt.Sprintf("Container %s definition changed, will be restarted", c.Name)})
		case h.Failed == "liveness":
			p.Stop = append(p.Stop, failed(c, st, "liveness", c.LivenessProbe))
		case h.Failed == "startup":
			p.Stop = append(p.Stop, failed(c, st, "startup", c.StartupProbe))
		}
	case Exited:
		if Restarts(in.Pod, c, st.ExitCode, kind == Init && !Sidecar(c)) {
			p.start(in, kind, c, latest)
		}
	case Created:
		// A create without a start: the agent ended between the two. The record is of no use to anybody.
		p.Stop = append(p.Stop, Stop{Container: st, Spec: c, Reason: "unknown", Message: fmt.Sprintf("Container %s was never started", c.Name)})
		p.start(in, kind, c, latest)
	case Unknown:
		p.Stop = append(p.Stop, Stop{Container: st, Spec: c, Reason: "unknown", Message: fmt.Sprintf("Container %s is in unknown state, try killing it before restart", c.Name)})
		p.start(in, kind, c, latest)
	}
}

func failed(c *corev1.Container, st *Container, which string, probe *corev1.Probe) Stop {
	s := Stop{Container: st, Spec: c, Reason: which, Message: fmt.Sprintf("Container %s failed %s probe, will be restarted", c.Name, which)}
	if probe != nil {
		s.Grace = probe.TerminationGracePeriodSeconds
	}
	return s
}

// start plans a start, or a wait when the container crashed too often. prev is the container's newest record anywhere.
func (p *Plan) start(in *Input, kind Kind, c *corev1.Container, prev *Container) {
	s := Start{Kind: kind, Spec: c}
	if prev != nil {
		s.Attempt = prev.Attempt + 1
		if prev.State == Exited {
			b := in.BackOffs[c.Name]
			if until := b.Until(prev.Finished); until.After(in.Now) {
				p.Waiting[c.Name] = Wait{Reason: "CrashLoopBackOff", Message: fmt.Sprintf("back-off %s restarting failed container=%s pod=%s_%s(%s)",
					b.Delay, c.Name, in.Pod.Name, in.Pod.Namespace, in.Pod.UID)}
				p.wake(until)
				return
			}
			s.BackOff = b.Next(prev.Finished, in.Now)
		}
	} else if old := apiStatus(in.Pod, c.Name); old != nil && (old.State.Running != nil || old.State.Terminated != nil || old.RestartCount > 0) {
		s.Attempt = uint32(old.RestartCount) + 1 // the runtime has forgotten it: the count goes on all the same
	}
	p.Start = append(p.Start, s)
}

func (p *Plan) wake(t time.Time) {
	if p.Wake.IsZero() || t.Before(p.Wake) {
		p.Wake = t
	}
}

func apiStatus(pod *corev1.Pod, name string) *corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses, pod.Status.EphemeralContainerStatuses} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}

// Deadline tells when an activeDeadlineSeconds pod must end; zero: never.
func Deadline(pod *corev1.Pod) time.Time {
	if pod.Spec.ActiveDeadlineSeconds == nil || pod.Status.StartTime == nil {
		return time.Time{}
	}
	return pod.Status.StartTime.Add(time.Duration(*pod.Spec.ActiveDeadlineSeconds) * time.Second)
}
