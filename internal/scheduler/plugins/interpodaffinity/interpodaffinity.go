// Package interpodaffinity places a pod beside the pods that it wants near, away
// from those that it wants far, and away from pods that want it far.
package interpodaffinity

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"nau/internal/scheduler/plugin"
)

const name = "InterPodAffinity"

type rule struct{ namespace func(string) labels.Set }

// New gives the rule; namespace gives a namespace's labels and may be nil.
func New(namespace func(string) labels.Set) plugin.Grouper { return rule{namespace} }

func (rule) Name() string { return name }

func (r rule) Constraints(p *plugin.Pod, repelling []string) []plugin.Constraint {
	var out []plugin.Constraint
	for _, key := range repelling {
		out = append(out, r.repelled(p, key))
	}
	a := p.Object.Spec.Affinity
	if a == nil {
		return out
	}
	if a.PodAffinity != nil {
		for i := range a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
			out = append(out, r.near(p, &a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution[i]))
		}
		for i := range a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
			t := &a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution[i]
			out = append(out, r.preferred(p, &t.PodAffinityTerm, func(count int64) int64 { return int64(t.Weight) * min(count, 1) }))
		}
	}
	if a.PodAntiAffinity != nil {
		for i := range a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
			c := r.counting(p, &a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution[i])
			c.Optional = true
			c.Reason = "node(s) didn't match pod anti-affinity rules"
			c.Fits = func(d plugin.Domain) bool { return d.Count == 0 }
			out = append(out, c)
		}
		for i := range a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
			t := &a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution[i]
			out = append(out, r.preferred(p, &t.PodAffinityTerm, func(count int64) int64 { return int64(t.Weight) / (1 + count) }))
		}
	}
	return out
}

// counting counts the pods that a term speaks of.
func (r rule) counting(p *plugin.Pod, t *corev1.PodAffinityTerm) plugin.Constraint {
	term := plugin.NewTerm(p.Object, t)
	return plugin.Constraint{Plugin: name, Key: t.TopologyKey, AnyNode: true, Counts: func(other *plugin.Pod) int64 {
		if term.Matches(other.Object, r.namespace) {
			return 1
		}
		return 0
	}}
}

// near: the first pod of a group may go anywhere if it matches its own term.
func (r rule) near(p *plugin.Pod, t *corev1.PodAffinityTerm) plugin.Constraint {
	c := r.counting(p, t)
	term := plugin.NewTerm(p.Object, t)
	first := term.Matches(p.Object, r.namespace)
	c.Reason = "node(s) didn't match pod affinity rules"
	c.Missing = c.Reason
	c.Fits = func(d plugin.Domain) bool { return d.Count > 0 || d.Total == 0 && first }
	return c
}

func (r rule) preferred(p *plugin.Pod, t *corev1.PodAffinityTerm, score func(int64) int64) plugin.Constraint {
	c := r.counting(p, t)
	c.Optional, c.Weight, c.Score = true, 2, score
	return c
}

// repelled counts the pods that keep this one away by one topology key.
func (r rule) repelled(p *plugin.Pod, key string) plugin.Constraint {
	return plugin.Constraint{
		Plugin: name, Key: key, AnyNode: true, Optional: true,
		Reason: "node(s) didn't satisfy existing pods anti-affinity rules",
		Fits:   func(d plugin.Domain) bool { return d.Count == 0 },
		Counts: func(other *plugin.Pod) int64 {
			var n int64
			for i := range other.Repels {
				if other.Repels[i].Key == key && other.Repels[i].Matches(p.Object, r.namespace) {
					n++
				}
			}
			return n
		},
	}
}

func (rule) Helps(e plugin.Event, _ *plugin.Pod) bool {
	switch e.Kind {
	case plugin.NodeAdded, plugin.NodeChanged, plugin.PodLeft, plugin.PodChanged, plugin.PodBound:
		return true
	}
	return false
}
