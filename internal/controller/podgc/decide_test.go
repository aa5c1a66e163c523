package podgc

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestDecide(t *testing.T) {
	now := time.Unix(10_000, 0)
	pod := func(name, node string, phase corev1.PodPhase, age time.Duration, deleted bool) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(now.Add(-age))},
			Spec: corev1.PodSpec{NodeName: node}, Status: corev1.PodStatus{Phase: phase}}
		if deleted {
			p.DeletionTimestamp = &metav1.Time{Time: now}
		}
		return p
	}
	up := &corev1.Node{Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}}}
	out := &corev1.Node{Spec: corev1.NodeSpec{Taints: []corev1.Taint{{Key: corev1.TaintNodeOutOfService}}}}
	tests := []struct {
		name  string
		state State
		want  string
	}{
		{"nothing to do", State{Pods: []*corev1.Pod{pod("a", "n", corev1.PodRunning, 0, false)}, Nodes: map[string]*corev1.Node{"n": up}, Keep: 1}, ""},
		{"oldest ended first", State{Pods: []*corev1.Pod{pod("young", "n", corev1.PodFailed, 1, false), pod("old", "n", corev1.PodSucceeded, 2, false)},
			Nodes: map[string]*corev1.Node{"n": up}, Keep: 1}, "old: one of too many ended pods"},
		{"no limit keeps all", State{Pods: []*corev1.Pod{pod("a", "n", corev1.PodFailed, 1, false)}, Nodes: map[string]*corev1.Node{"n": up}}, ""},
		{"node just gone", State{Pods: []*corev1.Pod{pod("a", "n", corev1.PodRunning, 0, false)}, Missing: map[string]time.Time{"n": now.Add(-time.Second)}}, ""},
		{"node long gone", State{Pods: []*corev1.Pod{pod("a", "n", corev1.PodRunning, 0, false)}, Missing: map[string]time.Time{"n": now.Add(-Quarantine)}}, "a: its node is gone"},
		{"deleted without a node", State{Pods: []*corev1.Pod{pod("a", "", corev1.PodPending, 0, true)}}, "a: deleted before it had a node"},
		{"waiting for a node", State{Pods: []*corev1.Pod{pod("a", "", corev1.PodPending, 0, false)}}, ""},
		{"out of service", State{Pods: []*corev1.Pod{pod("a", "n", corev1.PodRunning, 0, true)}, Nodes: map[string]*corev1.Node{"n": out}}, "a: its node is out of service"},
		{"out of service, not deleted", State{Pods: []*corev1.Pod{pod("a", "n", corev1.PodRunning, 0, false)}, Nodes: map[string]*corev1.Node{"n": out}}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, r := range Decide(now, tt.state) {
				got = append(got, fmt.Sprintf("%s: %s", r.Pod.Name, r.Reason))
			}
			slices.Sort(got)
			if text := strings.Join(got, ", "); text != tt.want {
				t.Fatalf("got %q, want %q", text, tt.want)
			}
		})
	}
}
