package podgc

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Reason is why a pod's object is removed.
type Reason string

// The reasons, in the order in which they are asked.
const (
	Terminated    Reason = "one of too many ended pods"
	Orphaned      Reason = "its node is gone"
	OutOfService  Reason = "its node is out of service"
	NeverAssigned Reason = "deleted before it had a node"
)

// Removal is a pod to be removed and why.
type Removal struct {
	Pod    *corev1.Pod
	Reason Reason
}

// State is what Decide looks at.
type State struct {
	Pods  []*corev1.Pod
	Nodes map[string]*corev1.Node
	// Missing says since when a node that pods name has not been there.
	Missing map[string]time.Time
	// Keep is how many ended pods may stay.
	Keep int
}

// Quarantine is how long a node has to be missing before its pods are removed:
// a node may be made again at once.
const Quarantine = 40 * time.Second

// Decide picks the pods to remove. The oldest of the ended pods go first.
func Decide(now time.Time, s State) []Removal {
	var out []Removal
	var done []*corev1.Pod
	for _, pod := range s.Pods {
		node := pod.Spec.NodeName
		switch {
		case node == "":
			if pod.DeletionTimestamp != nil {
				out = append(out, Removal{pod, NeverAssigned})
				continue
			}
		case s.Nodes[node] == nil:
			if since, ok := s.Missing[node]; ok && now.Sub(since) >= Quarantine {
				out = append(out, Removal{pod, Orphaned})
				continue
			}
		case pod.DeletionTimestamp != nil && outOfService(s.Nodes[node]):
			out = append(out, Removal{pod, OutOfService})
			continue
		}
		if pod.DeletionTimestamp == nil && ended(pod) {
			done = append(done, pod)
		}
	}
	if extra := len(done) - s.Keep; extra > 0 && s.Keep > 0 {
		slices.SortFunc(done, func(a, b *corev1.Pod) int {
			return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
		})
		for _, pod := range done[:extra] {
			out = append(out, Removal{pod, Terminated})
		}
	}
	return out
}

func ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

func outOfService(node *corev1.Node) bool {
	ready := slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
	return !ready && slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeOutOfService })
}

// condition marks a pod whose node went away from under it.
func condition(now time.Time) corev1.PodCondition {
	return corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "DeletionByPodGC",
		Message: "PodGC: node no longer exists", LastTransitionTime: metav1.NewTime(now),
	}
}
