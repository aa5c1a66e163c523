package life

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// End is an end that the node has decided for a pod: a deadline, an eviction, a refusal.
type End struct {
	Phase           corev1.PodPhase
	Reason, Message string
}

// StatusInput is all that a pod's status depends on.
type StatusInput struct {
	Pod         *corev1.Pod // its Status is the one last known to the API server
	Observed    *Observed
	Health      map[string]Health
	Waiting     map[string]Wait // by container name: why it does not run
	End         *End
	Stopped     bool // nothing runs any more and nothing will
	HostIPs     []string
	RuntimeName string                                 // prefix of container ids
	Applied     map[string]corev1.ResourceRequirements // what a running container has; missing: what the spec says
	Resize      []corev1.PodCondition                  // PodResizePending, PodResizeInProgress
	Now         time.Time
}

// Status returns the pod's whole status. Source: pod life cycle in the Kubernetes documentation and the types' comments.
func Status(in *StatusInput) corev1.PodStatus {
	pod := in.Pod
	s := corev1.PodStatus{
		ObservedGeneration: pod.Generation,
		NominatedNodeName:  pod.Status.NominatedNodeName,
		StartTime:          pod.Status.StartTime,
		QOSClass:           QOS(pod),

		ResourceClaimStatuses:       pod.Status.ResourceClaimStatuses,
		ExtendedResourceClaimStatus: pod.Status.ExtendedResourceClaimStatus,
	}
	if s.StartTime == nil {
		s.StartTime = &metav1.Time{Time: in.Now.Truncate(time.Second)}
	}
	for i, ip := range in.HostIPs {
		if i == 0 {
			s.HostIP = ip
		}
		s.HostIPs = append(s.HostIPs, corev1.HostIP{IP: ip})
	}
	for i, ip := range in.podIPs() {
		if i == 0 {
			s.PodIP = ip
		}
		s.PodIPs = append(s.PodIPs, corev1.PodIP{IP: ip})
	}
	for i := range pod.Spec.InitContainers {
		s.InitContainerStatuses = append(s.InitContainerStatuses, in.container(Init, &pod.Spec.InitContainers[i]))
	}
	for i := range pod.Spec.Containers {
		s.ContainerStatuses = append(s.ContainerStatuses, in.container(App, &pod.Spec.Containers[i]))
	}
	for i := range pod.Spec.EphemeralContainers {
		c := corev1.Container(pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		s.EphemeralContainerStatuses = append(s.EphemeralContainerStatuses, in.container(Ephemeral, &c))
	}
	if in.Stopped {
		settle(pod, &s)
	}
	s.Phase = Phase(pod, &s, in.Stopped)
	if in.End != nil {
		s.Reason, s.Message = in.End.Reason, in.End.Message
		if in.Stopped || len(in.Observed.Containers) == 0 {
			s.Phase = in.End.Phase
		}
	}
	if in.Stopped && s.Phase != corev1.PodSucceeded && s.Phase != corev1.PodFailed {
		s.Phase = corev1.PodFailed
	}
	// A phase never goes back from an end, and an end is not shown while something may still run.
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		s.Phase = pod.Status.Phase
	} else if !in.Stopped && (s.Phase == corev1.PodSucceeded || s.Phase == corev1.PodFailed) && len(in.Observed.Containers) > 0 {
		s.Phase = corev1.PodRunning
		if pod.Status.Phase == corev1.PodPending {
			s.Phase = corev1.PodPending
			if len(s.ContainerStatuses) > 0 && s.ContainerStatuses[0].ContainerID != "" {
				s.Phase = corev1.PodRunning
			}
		}
	}
	in.conditions(&s)
	if in.refused() {
		s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses = nil, nil, nil
	}
	return s
}

// refused tells whether the node ended the pod before anything of it ran: clients then show the reason of the pod,
// not that of containers which never were.
func (in *StatusInput) refused() bool {
	return in.End != nil && in.Stopped && len(in.Observed.Containers) == 0 &&
		len(in.Pod.Status.InitContainerStatuses) == 0 && len(in.Pod.Status.ContainerStatuses) == 0
}

func (in *StatusInput) podIPs() []string {
	if in.Pod.Spec.HostNetwork {
		if in.Observed.Sandbox() == nil && in.Pod.Status.PodIP == "" {
			return nil
		}
		return in.HostIPs
	}
	if sb := in.Observed.Sandbox(); sb != nil && len(sb.IPs) > 0 {
		return sb.IPs
	}
	if in.Stopped || in.Pod.DeletionTimestamp != nil { // an ended pod keeps the addresses it had
		var out []string
		for _, ip := range in.Pod.Status.PodIPs {
			out = append(out, ip.IP)
		}
		return out
	}
	return nil
}

func (in *StatusInput) container(kind Kind, c *corev1.Container) corev1.ContainerStatus {
	s := corev1.ContainerStatus{Name: c.Name, Image: c.Image}
	old := apiStatus(in.Pod, c.Name)
	st := in.Observed.Latest(c.Name)
	started := false
	switch {
	case st != nil:
		s.RestartCount = int32(st.Attempt)
		s.Image, s.ImageID = imageName(st, c), st.ImageID
		s.ContainerID = in.RuntimeName + "://" + st.ID
		if prev := in.Observed.Nth(c.Name, 1); prev != nil && prev.State == Exited {
			s.LastTerminationState.Terminated = in.terminated(prev)
		} else if old != nil && old.RestartCount == s.RestartCount {
			s.LastTerminationState = old.LastTerminationState
		} else if old != nil && old.RestartCount+1 == s.RestartCount && old.State.Terminated != nil {
			s.LastTerminationState.Terminated = old.State.Terminated
		}
		h, ok := in.Health[st.ID]
		if !ok {
			h = healthy
		}
		switch st.State {
		case Running:
			s.State.Running = &corev1.ContainerStateRunning{StartedAt: metav1.Time{Time: st.Started.Truncate(time.Second)}}
			switch {
			case kind == App || kind == Init && Sidecar(c):
				started = h.Started
				s.Ready = h.Started && h.Ready
			case kind == Ephemeral:
				started = false
			}
			if st.User != nil {
				s.User = &corev1.ContainerUser{Linux: &corev1.LinuxContainerUser{UID: st.User.Uid, GID: st.User.Gid, SupplementalGroups: st.User.SupplementalGroups}}
			}
		case Exited:
			s.State.Terminated = in.terminated(st)
			s.Ready = kind == Init && !Sidecar(c) && st.ExitCode == 0
		case Unknown:
			s.State.Terminated = &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "ContainerStatusUnknown", ContainerID: s.ContainerID,
				Message: "The container could not be located when the pod was terminated"}
		}
		if w, ok := in.Waiting[c.Name]; ok && st.State == Exited && !in.Stopped {
			s.LastTerminationState.Terminated, s.State = s.State.Terminated, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: w.Reason, Message: w.Message}}
			s.Ready = false
		}
		if st.StopSignal != "" {
			sig := corev1.Signal(st.StopSignal)
			s.StopSignal = &sig
		}
	case old != nil && (old.State.Running != nil || old.State.Terminated != nil || old.ContainerID != ""):
		// The API server knows a run that the runtime has forgotten, e.g. after the machine was set up anew.
		s = *old.DeepCopy()
		if s.State.Running != nil {
			s.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "ContainerStatusUnknown",
				ContainerID: s.ContainerID, Message: "The container could not be located when the pod was terminated"}}
		}
		if s.State.Terminated != nil && s.State.Terminated.ExitCode != 0 {
			s.Ready = false
		}
	}
	if s.State == (corev1.ContainerState{}) {
		s.State.Waiting = &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}
		if len(in.Pod.Spec.InitContainers) > 0 {
			s.State.Waiting.Reason = "PodInitializing"
		}
		if w, ok := in.Waiting[c.Name]; ok {
			s.State.Waiting.Reason, s.State.Waiting.Message = w.Reason, w.Message
		}
	}
	s.Started = &started
	if kind != Ephemeral {
		applied, ok := in.Applied[c.Name]
		if !ok {
			applied = corev1.ResourceRequirements{Limits: c.Resources.Limits, Requests: c.Resources.Requests}
		}
		s.Resources = &applied
		s.AllocatedResources = c.Resources.Requests
	}
	s.VolumeMounts = nil
	for _, m := range c.VolumeMounts {
		ms := corev1.VolumeMountStatus{Name: m.Name, MountPath: m.MountPath, ReadOnly: m.ReadOnly}
		if m.ReadOnly {
			mode := corev1.RecursiveReadOnlyDisabled
			if m.RecursiveReadOnly != nil && (*m.RecursiveReadOnly == corev1.RecursiveReadOnlyEnabled || *m.RecursiveReadOnly == corev1.RecursiveReadOnlyIfPossible) {
				mode = corev1.RecursiveReadOnlyEnabled
			}
			ms.RecursiveReadOnly = &mode
		}
		s.VolumeMounts = append(s.VolumeMounts, ms)
	}
	return s
}

// imageName is the name the runtime gave, or the spec's where the runtime knows an id only.
func imageName(st *Container, c *corev1.Container) string {
	if st.Image == "" || len(st.Image) > 7 && st.Image[:7] == "sha256:" {
		return c.Image
	}
	return st.Image
}

func (in *StatusInput) terminated(st *Container) *corev1.ContainerStateTerminated {
	t := &corev1.ContainerStateTerminated{ExitCode: st.ExitCode, Reason: st.Reason, Message: st.Message,
		StartedAt: stamp(st.Started), FinishedAt: stamp(st.Finished), ContainerID: in.RuntimeName + "://" + st.ID}
	if t.Reason == "" {
		t.Reason = "Completed"
		if t.ExitCode != 0 {
			t.Reason = "Error"
		}
	}
	return t
}

func stamp(t time.Time) metav1.Time {
	if t.IsZero() || t.UnixNano() == 0 {
		return metav1.Time{}
	}
	return metav1.Time{Time: t.Truncate(time.Second)}
}

// settle gives every container that was initialised a terminated state: nothing of the pod runs any more.
func settle(pod *corev1.Pod, s *corev1.PodStatus) {
	for i := range s.InitContainerStatuses {
		st := &s.InitContainerStatuses[i]
		if !Sidecar(&pod.Spec.InitContainers[i]) && (st.State.Terminated == nil || st.State.Terminated.ExitCode != 0) {
			return // the app containers never had their turn
		}
	}
	for i := range s.ContainerStatuses {
		st := &s.ContainerStatuses[i]
		if st.State.Terminated != nil {
			continue
		}
		if st.LastTerminationState.Terminated != nil && st.State.Waiting != nil {
			st.State, st.LastTerminationState = st.LastTerminationState, corev1.ContainerState{}
			continue
		}
		st.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "ContainerStatusUnknown",
			Message: "The container could not be located when the pod was terminated"}}
		st.Ready = false
	}
}

// Phase derives the phase from container statuses. stopped: nothing of the pod runs or will run.
func Phase(pod *corev1.Pod, s *corev1.PodStatus, stopped bool) corev1.PodPhase {
	pendingInit, failedInit := 0, 0
	for i := range pod.Spec.InitContainers {
		st := &s.InitContainerStatuses[i]
		if Sidecar(&pod.Spec.InitContainers[i]) {
			if st.State.Terminated == nil && (st.Started == nil || !*st.Started) && st.LastTerminationState.Terminated == nil {
				pendingInit++
			}
			continue
		}
		switch {
		case st.State.Running != nil:
			pendingInit++
		case st.State.Terminated != nil && st.State.Terminated.ExitCode != 0:
			failedInit++
		case st.State.Terminated != nil:
		case st.LastTerminationState.Terminated != nil:
			if st.LastTerminationState.Terminated.ExitCode != 0 {
				failedInit++
			}
		default:
			pendingInit++
		}
	}
	running, waiting, ended, succeeded := 0, 0, 0, 0
	for i := range s.ContainerStatuses {
		st := &s.ContainerStatuses[i]
		switch {
		case st.State.Running != nil:
			running++
		case st.State.Terminated != nil:
			ended++
			if st.State.Terminated.ExitCode == 0 {
				succeeded++
			}
		case st.LastTerminationState.Terminated != nil:
			ended++
		default:
			waiting++
		}
	}
	policy := pod.Spec.RestartPolicy
	if failedInit > 0 && (policy == corev1.RestartPolicyNever || stopped) {
		return corev1.PodFailed
	}
	switch {
	case (pendingInit > 0 || failedInit > 0) && running == 0 && ended == 0, waiting > 0:
		return corev1.PodPending
	case running > 0:
		return corev1.PodRunning
	case ended == 0:
		return corev1.PodPending
	case stopped:
		if ended == succeeded {
			return corev1.PodSucceeded
		}
		return corev1.PodFailed
	case policy == corev1.RestartPolicyAlways:
		return corev1.PodRunning
	case ended == succeeded:
		return corev1.PodSucceeded
	case policy == corev1.RestartPolicyNever && !anyRestarts(pod, s):
		return corev1.PodFailed
	}
	return corev1.PodRunning
}

// anyRestarts tells whether a container with rules of its own will run again although the pod's policy is Never.
func anyRestarts(pod *corev1.Pod, s *corev1.PodStatus) bool {
	for i := range s.ContainerStatuses {
		if t := s.ContainerStatuses[i].State.Terminated; t != nil && Restarts(pod, &pod.Spec.Containers[i], t.ExitCode, false) {
			return true
		}
	}
	return false
}

// QOS is the pod's quality of service class. Source: "Pod Quality of Service Classes".
func QOS(pod *corev1.Pod) corev1.PodQOSClass {
	if pod.Status.QOSClass != "" {
		return pod.Status.QOSClass
	}
	any, guaranteed := false, true
	look := func(r *corev1.ResourceRequirements) {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			req, lim := r.Requests[name], r.Limits[name]
			if !req.IsZero() || !lim.IsZero() {
				any = true
			}
			if lim.IsZero() || (!req.IsZero() && req.Cmp(lim) != 0) {
				guaranteed = false
			}
		}
	}
	if pod.Spec.Resources != nil && len(pod.Spec.Resources.Requests)+len(pod.Spec.Resources.Limits) > 0 {
		look(pod.Spec.Resources)
	} else {
		for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
			for i := range list {
				look(&list[i].Resources)
			}
		}
	}
	switch {
	case !any:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}

// Same tells whether two statuses are the same to a reader of the API.
func Same(a, b *corev1.PodStatus) bool { return slices.Equal(encode(a), encode(b)) }

func encode(s *corev1.PodStatus) []byte {
	b, err := s.Marshal()
	if err != nil {
		return nil
	}
	return b
}
