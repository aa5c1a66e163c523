package disruption

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Patience is how long an evicted pod may take until its deletion shows; after that it counts again.
const Patience = 2 * time.Minute

// State is all that a budget's status depends on.
type State struct {
	Budget *policyv1.PodDisruptionBudget
	Pods   []*corev1.Pod // those that it selects
	Scale  int32         // sum of the replicas that the pods' controllers ask for
	Wrong  error         // why Scale is unknown
}

// Scaled tells whether a budget is reckoned from the wanted number of pods, not from those that there are.
func Scaled(b *policyv1.PodDisruptionBudget) bool {
	return b.Spec.MaxUnavailable != nil || b.Spec.MinAvailable != nil && b.Spec.MinAvailable.Type == intstr.String
}

// Decide returns the budget's status, and when an eviction that has not shown runs out of patience (zero: never).
// Source: API docs of PodDisruptionBudget.
func Decide(now time.Time, s State) (policyv1.PodDisruptionBudgetStatus, time.Time) {
	b := s.Budget
	out := *b.Status.DeepCopy()
	out.ObservedGeneration = b.Generation
	expected, desired, err := bounds(s)
	if err != nil {
		out.DisruptionsAllowed = 0
		condition(now, &out, metav1.ConditionFalse, policyv1.SyncFailedReason, err.Error())
		return out, time.Time{}
	}
	var again time.Time
	out.ExpectedPods, out.DesiredHealthy, out.CurrentHealthy, out.DisruptedPods = expected, desired, 0, nil
	for _, pod := range s.Pods {
		if pod.DeletionTimestamp != nil {
			continue
		}
		if since, ok := b.Status.DisruptedPods[pod.Name]; ok {
			if until := since.Add(Patience); now.Before(until) {
				if out.DisruptedPods == nil {
					out.DisruptedPods = map[string]metav1.Time{}
				}
				out.DisruptedPods[pod.Name] = since
				if again.IsZero() || until.Before(again) {
					again = until
				}
				continue
			}
		}
		if ready(pod) {
			out.CurrentHealthy++
		}
	}
	out.DisruptionsAllowed = max(out.CurrentHealthy-desired, 0)
	if expected <= 0 {
		out.DisruptionsAllowed = 0 // until its first pods were looked at
	}
	if out.DisruptionsAllowed > 0 {
		condition(now, &out, metav1.ConditionTrue, policyv1.SufficientPodsReason, "")
	} else {
		condition(now, &out, metav1.ConditionFalse, policyv1.InsufficientPodsReason, "")
	}
	return out, again
}

// bounds is how many pods there ought to be, and how many of them have to be healthy.
func bounds(s State) (expected, desired int32, err error) {
	spec := &s.Budget.Spec
	if Scaled(s.Budget) && s.Wrong != nil {
		return 0, 0, s.Wrong
	}
	switch {
	case spec.MaxUnavailable != nil:
		n, err := intstr.GetScaledValueFromIntOrPercent(spec.MaxUnavailable, int(s.Scale), true)
		if err != nil {
			return 0, 0, fmt.Errorf("read maxUnavailable: %w", err)
		}
		return s.Scale, max(s.Scale-int32(n), 0), nil
	case spec.MinAvailable == nil:
		return 0, 0, nil
	case spec.MinAvailable.Type == intstr.Int:
		return int32(len(s.Pods)), spec.MinAvailable.IntVal, nil
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(spec.MinAvailable, int(s.Scale), true)
	if err != nil {
		return 0, 0, fmt.Errorf("read minAvailable: %w", err)
	}
	return s.Scale, int32(n), nil
}

func condition(now time.Time, s *policyv1.PodDisruptionBudgetStatus, status metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(&s.Conditions, metav1.Condition{Type: policyv1.DisruptionAllowedCondition, Status: status, Reason: reason, Message: message,
		LastTransitionTime: metav1.NewTime(now.Truncate(time.Second)), ObservedGeneration: s.ObservedGeneration})
}

func ready(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
