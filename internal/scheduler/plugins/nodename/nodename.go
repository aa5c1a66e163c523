// Package nodename keeps a pod that names its node away from all others.
package nodename

import "nau/internal/scheduler/plugin"

type rule struct{}

// New gives the rule.
func New() plugin.Filter { return rule{} }

func (rule) Name() string { return "NodeName" }

func (rule) Filter(p *plugin.Pod, n *plugin.Node) plugin.Rejection {
	if want := p.Object.Spec.NodeName; want != "" && want != n.Object.Name {
		return plugin.Rejection{Plugin: "NodeName", Reasons: []string{"node(s) didn't match the requested node name"}, Lasting: true}
	}
	return plugin.Rejection{}
}

func (rule) Helps(e plugin.Event, p *plugin.Pod) bool {
	return e.Kind == plugin.NodeAdded && e.Node.Object.Name == p.Object.Spec.NodeName
}
