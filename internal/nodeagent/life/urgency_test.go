package life

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func TestUrgency(t *testing.T) {
	status := func(phase corev1.PodPhase, generation int64, ready corev1.ConditionStatus) *corev1.PodStatus {
		return &corev1.PodStatus{Phase: phase, ObservedGeneration: generation,
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: ready, ObservedGeneration: generation}}}
	}
	pending, running := status(corev1.PodPending, 1, corev1.ConditionFalse), status(corev1.PodRunning, 1, corev1.ConditionTrue)
	for _, c := range []struct {
		name   string
		old, s *corev1.PodStatus
		hurry  bool
		wait   time.Duration
		write  bool
	}{
		{"nothing new", running, status(corev1.PodRunning, 1, corev1.ConditionTrue), false, 0, false},
		{"nothing new is nothing new, whatever the hurry", pending, pending, true, 0, false},
		{"first word of a start", &corev1.PodStatus{}, pending, false, startDelay, true},
		{"a start goes on", status(corev1.PodPending, 1, corev1.ConditionUnknown), pending, false, startDelay, true},
		{"a start fails", &corev1.PodStatus{}, pending, true, 0, true},
		{"it runs", pending, running, false, 0, true},
		{"only a generation was seen", running, status(corev1.PodRunning, 2, corev1.ConditionTrue), false, generationDelay, true},
		{"only a generation was seen, by a pod that has stopped", running, status(corev1.PodRunning, 2, corev1.ConditionTrue), true, 0, true},
		{"a generation and its effect", running, status(corev1.PodRunning, 2, corev1.ConditionFalse), false, 0, true},
		{"it ended", running, status(corev1.PodFailed, 2, corev1.ConditionFalse), false, 0, true},
	} {
		if wait, write := Urgency(c.old, c.s, c.hurry); wait != c.wait || write != c.write {
			t.Errorf("%s: wait %v, write %v; want %v, %v", c.name, wait, write, c.wait, c.write)
		}
	}
	if running.Conditions[0].ObservedGeneration != 1 {
		t.Error("a status that was compared was changed")
	}
}

func TestKept(t *testing.T) {
	condition := func(kind corev1.PodConditionType, status corev1.ConditionStatus) corev1.PodCondition {
		return corev1.PodCondition{Type: kind, Status: status}
	}
	s := &corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{condition(corev1.PodReady, "True"), condition("example.com/old", "True"), condition("example.com/gone", "True")}}
	newest := &corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{condition("example.com/old", "False"), condition(corev1.PodReady, "False"),
		condition(corev1.DisruptionTarget, "True")}}
	got := Kept(s, newest)
	want := []corev1.PodCondition{condition(corev1.PodReady, "True"), condition("example.com/old", "False"), condition(corev1.DisruptionTarget, "True")}
	if got.Phase != corev1.PodRunning || !slices.Equal(got.Conditions, want) {
		t.Errorf("%v %v, want %v", got.Phase, got.Conditions, want)
	}
	if len(s.Conditions) != 3 || s.Conditions[1].Type != "example.com/old" {
		t.Error("the status that was given was changed")
	}
}
