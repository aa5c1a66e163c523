package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"
)

// DefaultTolerationSeconds lets a pod stay five minutes on a node that is not ready or not reachable, unless it says otherwise.
type DefaultTolerationSeconds struct {
	Operations
	NotReady, Unreachable int64 // seconds
}

// NewDefaultTolerationSeconds makes the plugin.
func NewDefaultTolerationSeconds() *DefaultTolerationSeconds {
	return &DefaultTolerationSeconds{Operations{Create, Update}, 300, 300}
}

// Name implements Plugin.
func (*DefaultTolerationSeconds) Name() string { return "DefaultTolerationSeconds" }

// Admit implements Mutator.
func (d *DefaultTolerationSeconds) Admit(_ context.Context, r *Request) error {
	pod, ok := r.Object.(*corev1.Pod)
	if !ok || !r.Is("", "pods", "") {
		return nil
	}
	tolerates := func(taint string) bool {
		for _, t := range pod.Spec.Tolerations {
			if (t.Key == taint || t.Key == "") && (t.Effect == corev1.TaintEffectNoExecute || t.Effect == "") {
				return true
			}
		}
		return false
	}
	for _, t := range []struct {
		taint   string
		seconds int64
	}{{corev1.TaintNodeNotReady, d.NotReady}, {corev1.TaintNodeUnreachable, d.Unreachable}} {
		if !tolerates(t.taint) {
			pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{Key: t.taint, Operator: corev1.TolerationOpExists,
				Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &t.seconds})
		}
	}
	return nil
}

// TaintNodesByCondition keeps pods off a new node until it has said that it is ready.
type TaintNodesByCondition struct{ Operations }

// NewTaintNodesByCondition makes the plugin.
func NewTaintNodesByCondition() *TaintNodesByCondition {
	return &TaintNodesByCondition{Operations{Create}}
}

// Name implements Plugin.
func (*TaintNodesByCondition) Name() string { return "TaintNodesByCondition" }

// Admit implements Mutator.
func (*TaintNodesByCondition) Admit(_ context.Context, r *Request) error {
	node, ok := r.Object.(*corev1.Node)
	if !ok || !r.Is("", "nodes", "") {
		return nil
	}
	for _, t := range node.Spec.Taints {
		if t.Key == corev1.TaintNodeNotReady && t.Effect == corev1.TaintEffectNoSchedule {
			return nil
		}
	}
	node.Spec.Taints = append(node.Spec.Taints, corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule})
	return nil
}
