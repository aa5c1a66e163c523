package scheduler

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"nau/internal/scheduler/plugin"
	"nau/internal/scheduler/preemption"
)

// nomination is a node kept for a pod while the pods that it evicted leave.
type nomination struct {
	node    string
	victims []types.UID
}

// preempt looks for pods to evict in favour of p, which no node takes. It books
// the node for p and gives the eviction to be carried out, if any, and the phrase
// to add to the pod's condition. s.mu is held.
func (s *Scheduler) preempt(p *plugin.Pod) (evict *preemption.Candidate, phrase string) {
	if !preemption.Allowed(p) {
		return nil, ""
	}
	nodes, lasting := s.ranking.Resolvable(p)
	total := len(nodes) + lasting
	if total == 0 {
		return nil, ""
	}
	budgets, err := s.budgets.List(labels.Everything())
	if err != nil {
		return nil, ""
	}
	c, ok := preemption.Decide(p, nodes, budgets, s.ranking.Fits)
	if !ok {
		var parts []string
		if len(nodes) > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", len(nodes), preemption.NoVictims))
		}
		if lasting > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", lasting, preemption.NotHelpful))
		}
		return nil, fmt.Sprintf(" preemption: 0/%d nodes are available: %s.", total, strings.Join(parts, ", "))
	}
	n := &nomination{node: c.Node.Object.Name}
	for _, v := range c.Victims {
		n.victims = append(n.victims, v.Object.UID)
	}
	s.nominated[p.Object.UID] = n
	s.cluster.AssumeOn(p, n.node)
	return &c, ""
}

// waitsForVictims tells whether pods evicted for p are still leaving. s.mu is
// held.
func (s *Scheduler) waitsForVictims(uid types.UID) bool {
	n := s.nominated[uid]
	if n == nil {
		return false
	}
	for _, v := range n.victims {
		if s.cluster.Holds(v) {
			return true
		}
	}
	return false
}

// evict carries a decision out.
func (s *Scheduler) evict(ctx context.Context, p *plugin.Pod, c *preemption.Candidate) {
	condition, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": []corev1.PodCondition{{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: corev1.PodReasonPreemptionByScheduler,
		Message:            s.config.Name + ": preempting to accommodate a higher priority pod",
		LastTransitionTime: metav1.NewTime(s.config.Clock.Now()),
	}}}})
	if err != nil {
		s.config.Log.Error("encode pod condition", "error", err)
		return
	}
	for _, v := range c.Victims {
		pod := v.Object
		pods := s.config.Client.CoreV1().Pods(pod.Namespace)
		if _, err := pods.Patch(ctx, pod.Name, types.StrategicMergePatchType, condition, metav1.PatchOptions{}, "status"); err != nil && !apierrors.IsNotFound(err) {
			s.config.Log.Warn("mark evicted pod", "pod", pod.Namespace+"/"+pod.Name, "error", err)
		}
		err := pods.Delete(ctx, pod.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(pod.UID))})
		if err != nil && !apierrors.IsNotFound(err) {
			s.config.Log.Warn("evict pod", "pod", pod.Namespace+"/"+pod.Name, "error", err)
			continue
		}
		s.config.Recorder.Eventf(pod, p.Object, corev1.EventTypeNormal, "Preempted", "Preempting", "Preempted by pod %v on node %v", p.Object.UID, c.Node.Object.Name)
	}
}
