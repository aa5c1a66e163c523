package replicaset

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// burst bounds the pods created or deleted in one go.
const burst = 500

// state is what the decision rests on.
type state struct {
	set   *appsv1.ReplicaSet
	owned []*corev1.Pod // controlled by the set
	loose []*corev1.Pod // in its namespace, controlled by nobody
	// related are pods of the set's siblings (same owner): they count where
	// pods are crowded.
	related []*corev1.Pod
	// settled: the caches show everything that was asked for.
	settled bool
}

// plan is what to do, in this order.
type plan struct {
	adopt   []*corev1.Pod
	release []*corev1.Pod
	create  int
	delete  []*corev1.Pod
}

// decide compares the pods there are with those there should be.
func decide(s state) (plan, error) {
	var p plan
	selector, err := metav1.LabelSelectorAsSelector(s.set.Spec.Selector)
	if err != nil {
		return p, fmt.Errorf("read selector: %w", err)
	}
	var active []*corev1.Pod
	for _, pod := range s.owned {
		switch {
		case !selector.Matches(labels.Set(pod.Labels)):
			if pod.DeletionTimestamp == nil || s.set.DeletionTimestamp == nil {
				p.release = append(p.release, pod)
			}
		case isActive(pod):
			active = append(active, pod)
		}
	}
	if s.set.DeletionTimestamp != nil {
		p.release = nil
		return p, nil
	}
	for _, pod := range s.loose {
		if pod.DeletionTimestamp == nil && isActive(pod) && !selector.Empty() && selector.Matches(labels.Set(pod.Labels)) {
			p.adopt = append(p.adopt, pod)
			active = append(active, pod)
		}
	}
	if !s.settled {
		return p, nil
	}
	switch diff := len(active) - int(replicas(s.set)); {
	case diff < 0:
		p.create = min(-diff, burst)
	case diff > 0:
		p.delete = leastWanted(active, s.related, min(diff, burst))
	}
	return p, nil
}

func replicas(set *appsv1.ReplicaSet) int32 {
	if set.Spec.Replicas == nil {
		return 1
	}
	return *set.Spec.Replicas
}

func isActive(pod *corev1.Pod) bool {
	return pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed && pod.DeletionTimestamp == nil
}

// candidate is a pod with what its rank depends on.
type candidate struct {
	pod     *corev1.Pod
	crowd   int // active pods of the set and its siblings on the same node
	cost    int32
	ready   bool
	readyAt time.Time
	restart int32
}

// order ranks pods for deletion, the least wanted first; the first rule that
// tells two pods apart decides. (ReplicaSet, "Scaling a ReplicaSet";
// controller.kubernetes.io/pod-deletion-cost)
var order = []struct {
	name    string
	compare func(a, b *candidate) int
}{
	{"unassigned before assigned", func(a, b *candidate) int {
		return first(a.pod.Spec.NodeName == "", b.pod.Spec.NodeName == "")
	}},
	{"pending before unknown before running", func(a, b *candidate) int {
		return cmp.Compare(phaseRank(a.pod), phaseRank(b.pod))
	}},
	{"not ready before ready", func(a, b *candidate) int { return first(!a.ready, !b.ready) }},
	{"cheaper before dearer", func(a, b *candidate) int { return cmp.Compare(a.cost, b.cost) }},
	{"crowded before alone", func(a, b *candidate) int { return cmp.Compare(b.crowd, a.crowd) }},
	{"ready for less time before longer", func(a, b *candidate) int {
		if !a.ready || !b.ready {
			return 0
		}
		return byAge(a.readyAt, b.readyAt)
	}},
	{"more restarts before fewer", func(a, b *candidate) int { return cmp.Compare(b.restart, a.restart) }},
	{"newer before older", func(a, b *candidate) int {
		return byAge(a.pod.CreationTimestamp.Time, b.pod.CreationTimestamp.Time)
	}},
	{"by identity", func(a, b *candidate) int { return cmp.Compare(a.pod.UID, b.pod.UID) }},
}

func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

func phaseRank(pod *corev1.Pod) int {
	switch pod.Status.Phase {
	case corev1.PodPending:
		return 0
	case corev1.PodRunning:
		return 2
	}
	return 1
}

// byAge puts the later time first; an unknown time is the latest of all.
func byAge(a, b time.Time) int {
	switch {
	case a.IsZero() || b.IsZero():
		return first(a.IsZero(), b.IsZero())
	}
	return b.Compare(a)
}

func leastWanted(active, related []*corev1.Pod, n int) []*corev1.Pod {
	if n >= len(active) {
		return active
	}
	crowd := map[string]int{}
	for _, pod := range related {
		if isActive(pod) {
			crowd[pod.Spec.NodeName]++
		}
	}
	candidates := make([]*candidate, len(active))
	for i, pod := range active {
		c := &candidate{pod: pod, crowd: crowd[pod.Spec.NodeName], cost: deletionCost(pod)}
		if ready := readyCondition(pod); ready != nil && ready.Status == corev1.ConditionTrue {
			c.ready, c.readyAt = true, ready.LastTransitionTime.Time
		}
		for _, s := range pod.Status.ContainerStatuses {
			c.restart = max(c.restart, s.RestartCount)
		}
		candidates[i] = c
	}
	slices.SortStableFunc(candidates, func(a, b *candidate) int {
		for _, rule := range order {
			if r := rule.compare(a, b); r != 0 {
				return r
			}
		}
		return 0
	})
	pods := make([]*corev1.Pod, n)
	for i := range pods {
		pods[i] = candidates[i].pod
	}
	return pods
}

func deletionCost(pod *corev1.Pod) int32 {
	cost, err := strconv.ParseInt(pod.Annotations[corev1.PodDeletionCost], 10, 32)
	if err != nil || cost > math.MaxInt32 {
		return 0
	}
	return int32(cost)
}

func readyCondition(pod *corev1.Pod) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == corev1.PodReady {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}

// describe computes the status that the pods amount to. failure is what went
// wrong while acting, and failed what was being done. again is when the next pod
// becomes available by time alone, 0 if none will.
func describe(now time.Time, set *appsv1.ReplicaSet, pods []*corev1.Pod, failed string, failure error) (status appsv1.ReplicaSetStatus, again time.Duration) {
	status = *set.Status.DeepCopy()
	status.ObservedGeneration = set.Generation
	status.Replicas, status.FullyLabeledReplicas, status.ReadyReplicas, status.AvailableReplicas = 0, 0, 0, 0
	template := labels.SelectorFromSet(set.Spec.Template.Labels)
	var terminating int32
	for _, pod := range pods {
		if !isActive(pod) {
			if pod.DeletionTimestamp != nil && pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
				terminating++
			}
			continue
		}
		status.Replicas++
		if template.Matches(labels.Set(pod.Labels)) {
			status.FullyLabeledReplicas++
		}
		ready := readyCondition(pod)
		if ready == nil || ready.Status != corev1.ConditionTrue {
			continue
		}
		status.ReadyReplicas++
		wait := ready.LastTransitionTime.Add(time.Duration(set.Spec.MinReadySeconds) * time.Second).Sub(now)
		switch {
		case set.Spec.MinReadySeconds == 0, wait <= 0:
			status.AvailableReplicas++
		case again == 0, wait < again:
			again = wait
		}
	}
	status.TerminatingReplicas = &terminating
	status.Conditions = withFailure(now, status.Conditions, failed, failure)
	return status, again
}

// withFailure sets or clears the condition ReplicaFailure.
func withFailure(now time.Time, conditions []appsv1.ReplicaSetCondition, failed string, failure error) []appsv1.ReplicaSetCondition {
	had := slices.IndexFunc(conditions, func(c appsv1.ReplicaSetCondition) bool {
		return c.Type == appsv1.ReplicaSetReplicaFailure
	})
	switch {
	case failure == nil && had >= 0:
		return slices.Delete(conditions, had, had+1)
	case failure != nil && had < 0:
		return append(conditions, appsv1.ReplicaSetCondition{
			Type:               appsv1.ReplicaSetReplicaFailure,
			Status:             corev1.ConditionTrue,
			Reason:             failed,
			Message:            failure.Error(),
			LastTransitionTime: metav1.NewTime(now),
		})
	}
	return conditions
}
