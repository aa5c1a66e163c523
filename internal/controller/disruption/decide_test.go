package disruption

import (
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

var t0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// pods makes one pod a letter: h healthy, u unready, d healthy but being deleted. Their names are p0, p1, ….
func pods(kinds string) (out []*corev1.Pod) {
	for i, k := range kinds {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p" + string(rune('0'+i)), Namespace: "n"}}
		if k != 'u' {
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		}
		if k == 'd' {
			p.DeletionTimestamp = &metav1.Time{Time: t0}
		}
		out = append(out, p)
	}
	return out
}

func TestDecide(t *testing.T) {
	minimum := func(v string) policyv1.PodDisruptionBudgetSpec {
		n := intstr.Parse(v)
		return policyv1.PodDisruptionBudgetSpec{MinAvailable: &n}
	}
	maximum := func(v string) policyv1.PodDisruptionBudgetSpec {
		n := intstr.Parse(v)
		return policyv1.PodDisruptionBudgetSpec{MaxUnavailable: &n}
	}
	ago := func(d time.Duration) metav1.Time { return metav1.NewTime(t0.Add(-d)) }
	for _, c := range []struct {
		name                                 string
		spec                                 policyv1.PodDisruptionBudgetSpec
		pods                                 string
		scale                                int32
		evicted                              map[string]metav1.Time
		wrong                                error
		expected, desired, healthy, disrupts int32
		reason                               string
		again                                time.Duration
	}{
		{name: "enough", spec: minimum("2"), pods: "hhh", expected: 3, desired: 2, healthy: 3, disrupts: 1, reason: "SufficientPods"},
		{name: "too few", spec: minimum("3"), pods: "hhh", expected: 3, desired: 3, healthy: 3, reason: "InsufficientPods"},
		{name: "unready and leaving pods do not count", spec: minimum("1"), pods: "hud", expected: 3, desired: 1, healthy: 1, reason: "InsufficientPods"},
		{name: "no pods yet", spec: minimum("0"), reason: "InsufficientPods"},
		{name: "percentage rounds up", spec: minimum("50%"), pods: "hhhhh", scale: 5, expected: 5, desired: 3, healthy: 5, disrupts: 2, reason: "SufficientPods"},
		{name: "unavailable are reckoned from the wanted number", spec: maximum("1"), pods: "hh", scale: 3, expected: 3, desired: 2, healthy: 2, reason: "InsufficientPods"},
		{name: "all may be unavailable", spec: maximum("100%"), pods: "h", scale: 1, expected: 1, healthy: 1, disrupts: 1, reason: "SufficientPods"},
		{name: "an eviction is on its way", spec: minimum("1"), pods: "hhh", evicted: map[string]metav1.Time{"p0": ago(time.Minute)},
			expected: 3, desired: 1, healthy: 2, disrupts: 1, reason: "SufficientPods", again: time.Minute},
		{name: "an eviction never came", spec: minimum("1"), pods: "hhh", evicted: map[string]metav1.Time{"p0": ago(3 * time.Minute), "gone": ago(0)},
			expected: 3, desired: 1, healthy: 3, disrupts: 2, reason: "SufficientPods"},
		{name: "unknown scale", spec: maximum("1"), pods: "h", wrong: errors.New("no such controller"), reason: "SyncFailed"},
		{name: "unknown scale that is not asked for", spec: minimum("1"), pods: "hh", wrong: errors.New("no such controller"),
			expected: 2, desired: 1, healthy: 2, disrupts: 1, reason: "SufficientPods"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Generation: 4}, Spec: c.spec, Status: policyv1.PodDisruptionBudgetStatus{DisruptedPods: c.evicted}}
			got, again := Decide(t0, State{Budget: b, Pods: pods(c.pods), Scale: c.scale, Wrong: c.wrong})
			if got.ExpectedPods != c.expected || got.DesiredHealthy != c.desired || got.CurrentHealthy != c.healthy || got.DisruptionsAllowed != c.disrupts || got.ObservedGeneration != 4 {
				t.Errorf("%+v", got)
			}
			if len(got.Conditions) != 1 || got.Conditions[0].Reason != c.reason {
				t.Errorf("conditions %+v, want reason %s", got.Conditions, c.reason)
			}
			if c.again == 0 && !again.IsZero() || c.again != 0 && !again.Equal(t0.Add(c.again)) {
				t.Errorf("again %s", again)
			}
		})
	}
}
