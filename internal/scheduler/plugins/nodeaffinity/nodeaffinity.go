// Package nodeaffinity holds a pod to its node selector and required node
// affinity, and prefers nodes that match its preferred terms.
package nodeaffinity

import (
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"nau/internal/scheduler/plugin"
)

// Rule is both filter and scorer.
type Rule struct{}

// New gives the rule.
func New() Rule { return Rule{} }

func (Rule) Name() string        { return "NodeAffinity" }
func (Rule) Weight() int64       { return 2 }
func (Rule) Shape() plugin.Shape { return plugin.Highest }

func (Rule) Filter(p *plugin.Pod, n *plugin.Node) plugin.Rejection {
	spec := &p.Object.Spec
	if len(spec.NodeSelector) == 0 && (spec.Affinity == nil || spec.Affinity.NodeAffinity == nil) {
		return plugin.Rejection{}
	}
	if ok, err := p.Affinity.Match(n.Object); err != nil || !ok {
		return plugin.Rejection{Plugin: "NodeAffinity", Reasons: []string{"node(s) didn't match Pod's node affinity/selector"}, Lasting: true}
	}
	return plugin.Rejection{}
}

// Score adds up the weights of the preferred terms that the node matches.
func (Rule) Score(p *plugin.Pod, n *plugin.Node) int64 {
	a := p.Object.Spec.Affinity
	if a == nil || a.NodeAffinity == nil || len(a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution) == 0 {
		return 0
	}
	terms, err := nodeaffinity.NewPreferredSchedulingTerms(a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
	if err != nil {
		return 0 // terms that do not parse match nothing; validation refuses them
	}
	return terms.Score(n.Object)
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
