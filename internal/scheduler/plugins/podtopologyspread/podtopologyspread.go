// Package podtopologyspread keeps the pods that a selector picks evenly spread
// over topology domains (KEP-895).
package podtopologyspread

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"nau/internal/scheduler/plugin"
)

const name = "PodTopologySpread"

type rule struct{}

// New gives the rule.
func New() plugin.Grouper { return rule{} }

func (rule) Name() string { return name }

func (rule) Constraints(p *plugin.Pod, _ []string) []plugin.Constraint {
	var out []plugin.Constraint
	for i := range p.Object.Spec.TopologySpreadConstraints {
		out = append(out, constraint(p.Object, &p.Object.Spec.TopologySpreadConstraints[i]))
	}
	return out
}

func constraint(pod *corev1.Pod, c *corev1.TopologySpreadConstraint) plugin.Constraint {
	selector := plugin.Selector(pod, c.LabelSelector, c.MatchLabelKeys, nil)
	out := plugin.Constraint{
		Plugin:  name,
		Key:     c.TopologyKey,
		AnyNode: c.NodeAffinityPolicy != nil && *c.NodeAffinityPolicy == corev1.NodeInclusionPolicyIgnore,
		Reason:  "node(s) didn't match pod topology spread constraints",
		Missing: "node(s) didn't match pod topology spread constraints (missing required label)",
		Counts: func(other *plugin.Pod) int64 {
			if other.Object.Namespace == pod.Namespace && selector.Matches(labels.Set(other.Object.Labels)) {
				return 1
			}
			return 0
		},
	}
	if c.WhenUnsatisfiable == corev1.ScheduleAnyway {
		out.Weight, out.Optional = 2, true
		out.Score = func(count int64) int64 { return 100 / (1 + count) }
		return out
	}
	var self int64
	if selector.Matches(labels.Set(pod.Labels)) {
		self = 1
	}
	skew := int64(c.MaxSkew)
	least := int64(1)
	if c.MinDomains != nil {
		least = int64(*c.MinDomains)
	}
	out.Fits = func(d plugin.Domain) bool {
		fewest := d.Least
		if d.Domains < least {
			fewest = 0
		}
		return d.Count+self-fewest <= skew
	}
	return out
}

func (rule) Helps(e plugin.Event, p *plugin.Pod) bool {
	switch e.Kind {
	case plugin.NodeAdded, plugin.NodeChanged:
		return slices.ContainsFunc(p.Object.Spec.TopologySpreadConstraints, func(c corev1.TopologySpreadConstraint) bool {
			_, has := e.Node.Object.Labels[c.TopologyKey]
			return has
		})
	case plugin.PodLeft:
		return e.Pod == nil || e.Pod.Object.Namespace == p.Object.Namespace
	case plugin.PodChanged, plugin.PodBound:
		return true
	}
	return false
}
