package life

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	// startDelay is how long the status of a pod that is just being started may wait for the next one, which replaces it.
	startDelay = 100 * time.Millisecond
	// generationDelay is how long a status may wait that says only that the node has seen a change of the pod: what the change
	// leads to follows as a rule, the end of a deleted pod for one. No status waits longer than a second.
	generationDelay = time.Second
)

// Urgency tells whether a status has to be written over the API server's, and how long that may wait for a better one.
// hurry: somebody waits for it, since something went wrong or the pod's end depends on it.
func Urgency(old, s *corev1.PodStatus, hurry bool) (wait time.Duration, write bool) {
	switch {
	case Same(old, s):
		return 0, false
	case hurry:
		return 0, true
	case s.Phase == corev1.PodPending && (old.Phase == corev1.PodPending || old.Phase == ""):
		return startDelay, true
	case Same(ungenerated(old), ungenerated(s)):
		return generationDelay, true
	}
	return 0, true
}

// ungenerated is s without the generations that it speaks of.
func ungenerated(s *corev1.PodStatus) *corev1.PodStatus {
	c := *s
	c.ObservedGeneration = 0
	c.Conditions = append([]corev1.PodCondition(nil), s.Conditions...)
	for i := range c.Conditions {
		c.Conditions[i].ObservedGeneration = 0
	}
	return &c
}
