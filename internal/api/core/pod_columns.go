package core

import (
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nau/internal/api"
	"nau/internal/api/column"
)

func podColumns() []api.Column {
	return append([]api.Column{
		column.Name(),
		column.Text("Ready", "The aggregate readiness state of this pod for accepting traffic.", func(p *corev1.Pod) string {
			s := summarize(p)
			return fmt.Sprintf("%d/%d", s.ready, s.total)
		}),
		column.Text("Status", "The aggregate status of the containers in this pod.", func(p *corev1.Pod) string { return summarize(p).reason }),
		column.Timed("Restarts", "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.",
			func(p *corev1.Pod, now time.Time) string {
				s := summarize(p)
				if s.restarts == 0 || s.lastRestart.IsZero() {
					return strconv.Itoa(s.restarts)
				}
				return fmt.Sprintf("%d (%s ago)", s.restarts, column.Since(s.lastRestart, now))
			}),
		column.Age(),
	}, column.Wide(
		column.Text("IP", corev1.PodStatus{}.SwaggerDoc()["podIP"], func(p *corev1.Pod) string {
			if len(p.Status.PodIPs) > 0 {
				return column.OrNone(p.Status.PodIPs[0].IP)
			}
			return column.OrNone(p.Status.PodIP)
		}),
		column.Text("Node", corev1.PodSpec{}.SwaggerDoc()["nodeName"], func(p *corev1.Pod) string { return column.OrNone(p.Spec.NodeName) }),
		column.Text("Nominated Node", corev1.PodStatus{}.SwaggerDoc()["nominatedNodeName"], func(p *corev1.Pod) string { return column.OrNone(p.Status.NominatedNodeName) }),
		column.Text("Readiness Gates", corev1.PodSpec{}.SwaggerDoc()["readinessGates"], readinessGates),
	)...)
}

func readinessGates(p *corev1.Pod) string {
	if len(p.Spec.ReadinessGates) == 0 {
		return column.None
	}
	met := 0
	for _, g := range p.Spec.ReadinessGates {
		if podCondition(p, g.ConditionType) {
			met++
		}
	}
	return fmt.Sprintf("%d/%d", met, len(p.Spec.ReadinessGates))
}

// summary is what the STATUS, READY and RESTARTS cells tell together.
type summary struct {
	reason       string
	ready, total int
	restarts     int
	lastRestart  metav1.Time
}

// summarize boils a pod's status down to the one word that users read: the phase, unless a container
// has something more precise to say.
func summarize(p *corev1.Pod) summary {
	s := summary{reason: column.Or(p.Status.Reason, string(p.Status.Phase)), total: len(p.Spec.Containers)}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Reason == corev1.PodReasonSchedulingGated {
			s.reason = corev1.PodReasonSchedulingGated
		}
	}
	sidecars := map[string]bool{}
	for i := range p.Spec.InitContainers {
		if sidecar(&p.Spec.InitContainers[i]) {
			sidecars[p.Spec.InitContainers[i].Name] = true
			s.total++
		}
	}
	var kept summary // restarts of sidecars only, which count on after initialisation
	initializing := false
	for i, c := range p.Status.InitContainerStatuses {
		s.restarted(c)
		if sidecars[c.Name] {
			kept.restarted(c)
		}
		if t := c.State.Terminated; t != nil && t.ExitCode == 0 {
			continue
		}
		if sidecars[c.Name] && c.Started != nil && *c.Started {
			if c.Ready {
				s.ready++
			}
			continue
		}
		switch t, w := c.State.Terminated, c.State.Waiting; {
		case t != nil:
			s.reason = "Init:" + ending(t)
		case w != nil && w.Reason != "" && w.Reason != "PodInitializing":
			s.reason = "Init:" + w.Reason
		default:
			s.reason = fmt.Sprintf("Init:%d/%d", i, len(p.Spec.InitContainers))
		}
		initializing = true
		break
	}
	if !initializing || podCondition(p, corev1.PodInitialized) {
		s.restarts, s.lastRestart = kept.restarts, kept.lastRestart
		running := false
		for i := len(p.Status.ContainerStatuses) - 1; i >= 0; i-- {
			c := p.Status.ContainerStatuses[i]
			s.restarted(c)
			switch {
			case c.State.Waiting != nil && c.State.Waiting.Reason != "":
				s.reason = c.State.Waiting.Reason
			case c.State.Terminated != nil:
				s.reason = ending(c.State.Terminated)
			case c.Ready && c.State.Running != nil:
				running = true
				s.ready++
			}
		}
		if s.reason == "Completed" && running {
			s.reason = "NotReady"
			if podCondition(p, corev1.PodReady) {
				s.reason = "Running"
			}
		}
	}
	if p.DeletionTimestamp != nil {
		ended := p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded
		switch {
		case p.Status.Reason == "NodeLost":
			s.reason = "Unknown"
		case !ended:
			s.reason = "Terminating"
		}
	}
	return s
}

func (s *summary) restarted(c corev1.ContainerStatus) {
	s.restarts += int(c.RestartCount)
	if t := c.LastTerminationState.Terminated; t != nil && s.lastRestart.Before(&t.FinishedAt) {
		s.lastRestart = t.FinishedAt
	}
}

func ending(t *corev1.ContainerStateTerminated) string {
	switch {
	case t.Reason != "":
		return t.Reason
	case t.Signal != 0:
		return fmt.Sprintf("Signal:%d", t.Signal)
	}
	return fmt.Sprintf("ExitCode:%d", t.ExitCode)
}

func podCondition(p *corev1.Pod, kind corev1.PodConditionType) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == kind {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
