package nodelifecycle

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var now = time.Unix(100_000, 0)

func node(status corev1.ConditionStatus, taints ...corev1.Taint) *corev1.Node {
	n := &corev1.Node{Spec: corev1.NodeSpec{Taints: taints}}
	if status != "" {
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status}}
	}
	return n
}

func TestSilence(t *testing.T) {
	if quiet, due := silent(now, now.Add(-Grace+time.Second), node(corev1.ConditionTrue)); quiet || due != now.Add(time.Second) {
		t.Errorf("just heard of: %v, due %v", quiet, due)
	}
	if quiet, _ := silent(now, now.Add(-Grace), node(corev1.ConditionTrue)); !quiet {
		t.Error("the grace is over")
	}
	if quiet, _ := silent(now, now.Add(-Grace), node("")); quiet {
		t.Error("a node that never reported has the longer grace")
	}
}

func TestUnknownConditions(t *testing.T) {
	conditions, changed := unknownConditions(now, node(corev1.ConditionTrue))
	if !changed || len(conditions) != 4 || conditions[0].Reason != "NodeStatusUnknown" || conditions[1].Reason != "NodeStatusNeverUpdated" {
		t.Fatalf("%v %+v", changed, conditions)
	}
	n := node("")
	n.Status.Conditions = conditions
	if _, changed := unknownConditions(now.Add(time.Hour), n); changed {
		t.Fatal("what is unknown already is no news")
	}
}

func TestTaints(t *testing.T) {
	mine := corev1.Taint{Key: "mine", Effect: corev1.TaintEffectNoSchedule}
	tests := []struct {
		name    string
		node    *corev1.Node
		want    string
		changed bool
	}{
		{"ready", node(corev1.ConditionTrue, mine), "mine:NoSchedule", false},
		{"not ready", node(corev1.ConditionFalse, mine), "mine:NoSchedule node.kubernetes.io/not-ready:NoExecute node.kubernetes.io/not-ready:NoSchedule", true},
		{"unreachable", node(corev1.ConditionUnknown), "node.kubernetes.io/unreachable:NoExecute node.kubernetes.io/unreachable:NoSchedule", true},
		{"ready again", node(corev1.ConditionTrue, corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}, mine), "mine:NoSchedule", true},
		{"never reported keeps its taint", node("", corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}), "node.kubernetes.io/not-ready:NoSchedule", false},
		{"cordoned", func() *corev1.Node { n := node(corev1.ConditionTrue); n.Spec.Unschedulable = true; return n }(), "node.kubernetes.io/unschedulable:NoSchedule", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, changed := taints(now, tt.node)
			var text []string
			for _, taint := range got {
				text = append(text, fmt.Sprintf("%s:%s", taint.Key, taint.Effect))
				if taint.Effect == corev1.TaintEffectNoExecute && taint.TimeAdded == nil {
					t.Error("an eviction without a time")
				}
			}
			if all := strings.Join(text, " "); all != tt.want || changed != tt.changed {
				t.Fatalf("got %q (changed %v), want %q (%v)", all, changed, tt.want, tt.changed)
			}
		})
	}
}

func TestEviction(t *testing.T) {
	taint := corev1.Taint{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute, TimeAdded: &metav1.Time{Time: now}}
	five := int64(300)
	tests := []struct {
		name        string
		node        *corev1.Node
		tolerations []corev1.Toleration
		want        time.Time
		leave       bool
	}{
		{"no taint", node(""), nil, time.Time{}, false},
		{"not tolerated", node("", taint), nil, now, true},
		{"for five minutes", node("", taint), []corev1.Toleration{{Key: taint.Key, Operator: "Exists", TolerationSeconds: &five}}, now.Add(5 * time.Minute), true},
		{"forever", node("", taint), []corev1.Toleration{{Operator: "Exists"}}, time.Time{}, false},
		{"the shorter counts", node("", taint), []corev1.Toleration{{Operator: "Exists"}, {Key: taint.Key, Operator: "Exists", TolerationSeconds: &five}}, now.Add(5 * time.Minute), true},
		{"another effect", node("", taint), []corev1.Toleration{{Operator: "Exists", Effect: "NoSchedule"}}, now, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pod := &corev1.Pod{Spec: corev1.PodSpec{Tolerations: tt.tolerations}}
			at, leave := eviction(now, pod, tt.node)
			if leave != tt.leave || !at.Equal(tt.want) {
				t.Fatalf("%v %v, want %v %v", at, leave, tt.want, tt.leave)
			}
		})
	}
}
