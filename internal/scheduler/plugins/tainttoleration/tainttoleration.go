// Package tainttoleration keeps pods off nodes whose taints they do not
// tolerate, and prefers nodes with few untolerated PreferNoSchedule taints.
package tainttoleration

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"nau/internal/scheduler/plugin"
)

// Rule is both filter and scorer.
type Rule struct{}

// New gives the rule.
func New() Rule { return Rule{} }

func (Rule) Name() string        { return "TaintToleration" }
func (Rule) Weight() int64       { return 3 }
func (Rule) Shape() plugin.Shape { return plugin.Lowest }

func (Rule) Filter(p *plugin.Pod, n *plugin.Node) plugin.Rejection {
	for i := range n.Object.Spec.Taints {
		t := &n.Object.Spec.Taints[i]
		if t.Effect != corev1.TaintEffectNoSchedule && t.Effect != corev1.TaintEffectNoExecute {
			continue
		}
		if !Tolerates(p.Object.Spec.Tolerations, t) {
			return plugin.Rejection{Plugin: "TaintToleration", Reasons: []string{"node(s) had untolerated taint(s)"}, Lasting: true}
		}
	}
	return plugin.Rejection{}
}

// Score counts the soft taints that the pod does not tolerate.
func (Rule) Score(p *plugin.Pod, n *plugin.Node) int64 {
	var count int64
	for i := range n.Object.Spec.Taints {
		t := &n.Object.Spec.Taints[i]
		if t.Effect == corev1.TaintEffectPreferNoSchedule && !Tolerates(p.Object.Spec.Tolerations, t) {
			count++
		}
	}
	return count
}

func (r Rule) Helps(e plugin.Event, p *plugin.Pod) bool {
	switch e.Kind {
	case plugin.NodeAdded, plugin.NodeChanged:
		return r.Filter(p, e.Node).OK()
	case plugin.PodChanged:
		return true
	}
	return false
}

// Tolerates tells whether any of the tolerations covers the taint.
func Tolerates(tolerations []corev1.Toleration, taint *corev1.Taint) bool {
	for i := range tolerations {
		if tolerates(&tolerations[i], taint) {
			return true
		}
	}
	return false
}

func tolerates(t *corev1.Toleration, taint *corev1.Taint) bool {
	if t.Effect != "" && t.Effect != taint.Effect {
		return false
	}
	if t.Key != "" && t.Key != taint.Key {
		return false
	}
	switch t.Operator {
	case corev1.TolerationOpExists:
		return true
	case corev1.TolerationOpEqual, "":
		return t.Key != "" && t.Value == taint.Value
	case "Lt", "Gt": // KEP-5471: the taint's value compared with the toleration's, as whole numbers
		want, err1 := strconv.ParseInt(t.Value, 10, 64)
		have, err2 := strconv.ParseInt(taint.Value, 10, 64)
		if err1 != nil || err2 != nil {
			return false
		}
		if t.Operator == "Lt" {
			return have < want
		}
		return have > want
	}
	return false
}
