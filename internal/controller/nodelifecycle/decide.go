package nodelifecycle

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Grace is how long a node may be silent before it is unreachable; the figures
// are kube-controller-manager's defaults.
const (
	Grace        = 50 * time.Second
	StartupGrace = 60 * time.Second
)

// silent tells whether a node has not been heard of for too long, and if not,
// when it would be.
func silent(now, heard time.Time, node *corev1.Node) (bool, time.Time) {
	grace := Grace
	if ready(node) == nil {
		grace = StartupGrace
	}
	due := heard.Add(grace)
	return !now.Before(due), due
}

func ready(node *corev1.Node) *corev1.NodeCondition {
	for i := range node.Status.Conditions {
		if node.Status.Conditions[i].Type == corev1.NodeReady {
			return &node.Status.Conditions[i]
		}
	}
	return nil
}

// unknownConditions are a silent node's conditions: nobody knows. changed tells
// whether that is news.
func unknownConditions(now time.Time, node *corev1.Node) (conditions []corev1.NodeCondition, changed bool) {
	conditions = slices.Clone(node.Status.Conditions)
	for _, kind := range []corev1.NodeConditionType{corev1.NodeReady, corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure} {
		i := slices.IndexFunc(conditions, func(c corev1.NodeCondition) bool { return c.Type == kind })
		switch {
		case i < 0:
			conditions = append(conditions, corev1.NodeCondition{
				Type: kind, Status: corev1.ConditionUnknown, Reason: "NodeStatusNeverUpdated", Message: "Kubelet never posted node status.",
				LastHeartbeatTime: node.CreationTimestamp, LastTransitionTime: metav1.NewTime(now),
			})
			changed = true
		case conditions[i].Status != corev1.ConditionUnknown:
			conditions[i].Status = corev1.ConditionUnknown
			conditions[i].Reason, conditions[i].Message = "NodeStatusUnknown", "Kubelet stopped posting node status."
			conditions[i].LastTransitionTime = metav1.NewTime(now)
			changed = true
		}
	}
	return conditions, changed
}

// taintOf are the taints that follow from conditions: by kind and status, with
// the effects.
var taintOf = []struct {
	kind    corev1.NodeConditionType
	status  corev1.ConditionStatus
	key     string
	effects []corev1.TaintEffect
}{
	{corev1.NodeReady, corev1.ConditionFalse, corev1.TaintNodeNotReady, []corev1.TaintEffect{corev1.TaintEffectNoSchedule, corev1.TaintEffectNoExecute}},
	{corev1.NodeReady, corev1.ConditionUnknown, corev1.TaintNodeUnreachable, []corev1.TaintEffect{corev1.TaintEffectNoSchedule, corev1.TaintEffectNoExecute}},
	{corev1.NodeMemoryPressure, corev1.ConditionTrue, corev1.TaintNodeMemoryPressure, []corev1.TaintEffect{corev1.TaintEffectNoSchedule}},
	{corev1.NodeDiskPressure, corev1.ConditionTrue, corev1.TaintNodeDiskPressure, []corev1.TaintEffect{corev1.TaintEffectNoSchedule}},
	{corev1.NodePIDPressure, corev1.ConditionTrue, corev1.TaintNodePIDPressure, []corev1.TaintEffect{corev1.TaintEffectNoSchedule}},
	{corev1.NodeNetworkUnavailable, corev1.ConditionTrue, corev1.TaintNodeNetworkUnavailable, []corev1.TaintEffect{corev1.TaintEffectNoSchedule}},
}

// taints is what the node's taints should be: those that follow from its
// conditions, and whatever else it has. changed tells whether they differ.
func taints(now time.Time, node *corev1.Node) (want []corev1.Taint, changed bool) {
	type name struct {
		key    string
		effect corev1.TaintEffect
	}
	due := map[name]bool{}
	for _, row := range taintOf {
		for _, c := range node.Status.Conditions {
			if c.Type == row.kind {
				for _, effect := range row.effects {
					n := name{row.key, effect}
					due[n] = due[n] || c.Status == row.status
				}
			}
		}
	}
	due[name{corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule}] = node.Spec.Unschedulable
	for _, t := range node.Spec.Taints {
		n := name{t.Key, t.Effect}
		wanted, ours := due[n]
		if ours && !wanted {
			changed = true
			continue
		}
		delete(due, n)
		want = append(want, t)
	}
	var added []corev1.Taint
	for n, wanted := range due {
		if wanted {
			t := corev1.Taint{Key: n.key, Effect: n.effect}
			if n.effect == corev1.TaintEffectNoExecute {
				t.TimeAdded = &metav1.Time{Time: now}
			}
			added = append(added, t)
			changed = true
		}
	}
	slices.SortFunc(added, func(a, b corev1.Taint) int {
		if a.Key != b.Key {
			return strings.Compare(a.Key, b.Key)
		}
		return strings.Compare(string(a.Effect), string(b.Effect))
	})
	return append(want, added...), changed
}

// eviction says when a pod has to leave a node because of taints that forbid
// execution: at once, at a time, or never (zero time and false).
func eviction(now time.Time, pod *corev1.Pod, node *corev1.Node) (at time.Time, leave bool) {
	for i := range node.Spec.Taints {
		t := &node.Spec.Taints[i]
		if t.Effect != corev1.TaintEffectNoExecute {
			continue
		}
		since := now
		if t.TimeAdded != nil {
			since = t.TimeAdded.Time
		}
		tolerated, forever, seconds := tolerance(pod.Spec.Tolerations, t)
		if tolerated && forever {
			continue
		}
		due := since
		if tolerated {
			due = since.Add(time.Duration(seconds) * time.Second)
		}
		if !leave || due.Before(at) {
			at, leave = due, true
		}
	}
	return at, leave
}

// tolerance is for how long the tolerations bear a taint: the shortest that is
// stated counts.
func tolerance(tolerations []corev1.Toleration, taint *corev1.Taint) (tolerated, forever bool, seconds int64) {
	forever = true
	for i := range tolerations {
		t := &tolerations[i]
		if t.Effect != "" && t.Effect != taint.Effect || t.Key != "" && t.Key != taint.Key {
			continue
		}
		switch t.Operator {
		case corev1.TolerationOpExists:
		case corev1.TolerationOpEqual, "":
			if t.Key == "" || t.Value != taint.Value {
				continue
			}
		default:
			continue
		}
		tolerated = true
		if t.TolerationSeconds != nil && (forever || *t.TolerationSeconds < seconds) {
			forever, seconds = false, max(*t.TolerationSeconds, 0)
		}
	}
	return tolerated, tolerated && forever, seconds
}
