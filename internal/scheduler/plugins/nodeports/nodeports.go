// Package nodeports keeps a pod off nodes where a host port that it wants is
// taken.
package nodeports

import "nau/internal/scheduler/plugin"

type rule struct{}

// New gives the rule.
func New() plugin.Filter { return rule{} }

func (rule) Name() string { return "NodePorts" }

func (rule) Filter(p *plugin.Pod, n *plugin.Node) plugin.Rejection {
	for _, port := range p.Ports {
		if n.Ports.Conflicts(port) {
			return plugin.Rejection{Plugin: "NodePorts", Reasons: []string{"node(s) didn't have free ports for the requested pod ports"}}
		}
	}
	return plugin.Rejection{}
}

func (r rule) Helps(e plugin.Event, p *plugin.Pod) bool {
	switch e.Kind {
	case plugin.NodeAdded:
		return true
	case plugin.PodLeft:
		return e.Pod == nil || len(e.Pod.Ports) > 0
	}
	return false
}
