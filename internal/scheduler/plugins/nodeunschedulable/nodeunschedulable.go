// Package nodeunschedulable keeps pods off cordoned nodes, unless they tolerate
// the taint node.kubernetes.io/unschedulable.
package nodeunschedulable

import (
	corev1 "k8s.io/api/core/v1"
	"nau/internal/scheduler/plugin"
	"nau/internal/scheduler/plugins/tainttoleration"
)

type rule struct{}

// New gives the rule.
func New() plugin.Filter { return rule{} }

func (rule) Name() string { return "NodeUnschedulable" }

var cordoned = corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}

func (rule) Filter(p *plugin.Pod, n *plugin.Node) plugin.Rejection {
	if n.Object.Spec.Unschedulable && !tainttoleration.Tolerates(p.Object.Spec.Tolerations, &cordoned) {
		return plugin.Rejection{Plugin: "NodeUnschedulable", Reasons: []string{"node(s) were unschedulable"}, Lasting: true}
	}
	return plugin.Rejection{}
}

func (rule) Helps(e plugin.Event, p *plugin.Pod) bool {
	switch e.Kind {
	case plugin.NodeAdded, plugin.NodeChanged:
		return !e.Node.Object.Spec.Unschedulable
	case plugin.PodChanged:
		return true
	}
	return false
}
