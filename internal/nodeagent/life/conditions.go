package life

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// owned are the condition types that the node writes; all others are kept as they are.
var owned = []corev1.PodConditionType{corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady,
	corev1.PodScheduled, corev1.PodResizePending, corev1.PodResizeInProgress}

func (in *StatusInput) conditions(s *corev1.PodStatus) {
	list := []corev1.PodCondition{in.sandboxReady(), initialized(in.Pod, s), ready(in.Pod, s), containersReady(in.Pod, s, corev1.ContainersReady),
		{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}}
	list = append(list, in.Resize...)
	for i := range list {
		c := &list[i]
		c.ObservedGeneration = in.Pod.Generation
		c.LastTransitionTime = metav1.Time{Time: in.Now.Truncate(time.Second)}
		if old := condition(&in.Pod.Status, c.Type); old != nil && old.Status == c.Status {
			c.LastTransitionTime = old.LastTransitionTime
		}
	}
	for _, c := range in.Pod.Status.Conditions {
		if !slices.Contains(owned, c.Type) {
			list = append(list, c)
		}
	}
	s.Conditions = list
}

// Kept is s with the conditions of others as they are in the API server's newest status: s may have been worked out before they were
// written.
func Kept(s, newest *corev1.PodStatus) *corev1.PodStatus {
	out := *s
	out.Conditions = slices.DeleteFunc(slices.Clone(s.Conditions), func(c corev1.PodCondition) bool { return !slices.Contains(owned, c.Type) })
	for _, c := range newest.Conditions {
		if !slices.Contains(owned, c.Type) {
			out.Conditions = append(out.Conditions, c)
		}
	}
	return &out
}

func condition(s *corev1.PodStatus, t corev1.PodConditionType) *corev1.PodCondition {
	for i := range s.Conditions {
		if s.Conditions[i].Type == t {
			return &s.Conditions[i]
		}
	}
	return nil
}

func (in *StatusInput) sandboxReady() corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionFalse}
	if sb := in.Observed.Sandbox(); sb != nil && sb.Ready && !in.Stopped && (in.Pod.Spec.HostNetwork || len(sb.IPs) > 0) {
		c.Status = corev1.ConditionTrue
	}
	return c
}

func initialized(pod *corev1.Pod, s *corev1.PodStatus) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.PodInitialized, Status: corev1.ConditionTrue}
	if s.Phase == corev1.PodSucceeded {
		c.Reason = "PodCompleted"
		return c
	}
	begun := false // app containers have had their turn: sidecars that restart do not undo it
	for i := range s.ContainerStatuses {
		begun = begun || s.ContainerStatuses[i].ContainerID != ""
	}
	var incomplete []string
	for i := range s.InitContainerStatuses {
		st := &s.InitContainerStatuses[i]
		if Sidecar(&pod.Spec.InitContainers[i]) {
			if !begun && (st.Started == nil || !*st.Started) {
				incomplete = append(incomplete, st.Name)
			}
		} else if !st.Ready {
			incomplete = append(incomplete, st.Name)
		}
	}
	if len(incomplete) > 0 {
		c.Status, c.Reason = corev1.ConditionFalse, "ContainersNotInitialized"
		c.Message = fmt.Sprintf("containers with incomplete status: %s", incomplete)
	}
	return c
}

func containersReady(pod *corev1.Pod, s *corev1.PodStatus, t corev1.PodConditionType) corev1.PodCondition {
	c := corev1.PodCondition{Type: t, Status: corev1.ConditionFalse}
	switch s.Phase {
	case corev1.PodSucceeded:
		c.Reason = "PodCompleted"
		return c
	case corev1.PodFailed:
		c.Reason = "PodFailed"
		return c
	}
	var unready []string
	for i := range s.InitContainerStatuses {
		if Sidecar(&pod.Spec.InitContainers[i]) && !s.InitContainerStatuses[i].Ready {
			unready = append(unready, s.InitContainerStatuses[i].Name)
		}
	}
	for i := range s.ContainerStatuses {
		if !s.ContainerStatuses[i].Ready {
			unready = append(unready, s.ContainerStatuses[i].Name)
		}
	}
	if len(unready) > 0 {
		c.Reason, c.Message = "ContainersNotReady", fmt.Sprintf("containers with unready status: %s", unready)
		return c
	}
	c.Status = corev1.ConditionTrue
	return c
}

func ready(pod *corev1.Pod, s *corev1.PodStatus) corev1.PodCondition {
	c := containersReady(pod, s, corev1.PodReady)
	if c.Status != corev1.ConditionTrue {
		return c
	}
	var missing []string
	for _, gate := range pod.Spec.ReadinessGates {
		g := condition(&pod.Status, gate.ConditionType)
		switch {
		case g == nil:
			missing = append(missing, fmt.Sprintf("corresponding condition of pod readiness gate %q does not exist.", gate.ConditionType))
		case g.Status != corev1.ConditionTrue:
			missing = append(missing, fmt.Sprintf("the status of pod readiness gate %q is not \"True\", but %v", gate.ConditionType, g.Status))
		}
	}
	if len(missing) > 0 {
		c.Status, c.Reason, c.Message = corev1.ConditionFalse, "ReadinessGatesNotReady", strings.Join(missing, ", ")
	}
	return c
}

// Reprobed is s with what probes say now, for the time in which no whole status is computed since the pod's worker is amid
// something that takes long. Health is by container id.
func Reprobed(pod *corev1.Pod, s *corev1.PodStatus, health map[string]Health, now time.Time) *corev1.PodStatus {
	out := *s
	each := func(list []corev1.ContainerStatus) []corev1.ContainerStatus {
		list = slices.Clone(list)
		for i := range list {
			st := &list[i]
			_, id, _ := strings.Cut(st.ContainerID, "://")
			if h, ok := health[id]; ok && st.State.Running != nil {
				started := h.Started
				st.Started, st.Ready = &started, h.Started && h.Ready
			}
		}
		return list
	}
	out.InitContainerStatuses, out.ContainerStatuses = each(s.InitContainerStatuses), each(s.ContainerStatuses)
	out.Conditions = slices.Clone(s.Conditions)
	for i := range out.Conditions {
		old := &out.Conditions[i]
		var c corev1.PodCondition
		switch old.Type {
		case corev1.PodReady:
			c = ready(pod, &out)
		case corev1.ContainersReady:
			c = containersReady(pod, &out, corev1.ContainersReady)
		default:
			continue
		}
		c.ObservedGeneration, c.LastTransitionTime = old.ObservedGeneration, old.LastTransitionTime
		if c.Status != old.Status {
			c.LastTransitionTime = metav1.Time{Time: now.Truncate(time.Second)}
		}
		*old = c
	}
	return &out
}
