// Package ranking answers "which node is best for this pod" without looking at
// every node for every pod. Pods that all rules treat alike form a class; each
// class keeps its verdict on every node in tournament trees, one for each
// combination of topology domains that its constraints tell apart, and before it
// answers it looks again only at nodes that changed since its last answer. It
// decides; it does no I/O and takes no locks.
package ranking

import (
	"fmt"
	"slices"
	"strings"

	"nau/internal/scheduler/plugin"
	"nau/internal/scheduler/state"
)

// Rules are the filters, groupers and scorers in the order in which they are
// asked; the first that rejects a node is the one that is reported.
type Rules struct {
	Filters  []plugin.Filter
	Groupers []plugin.Grouper
	Scorers  []plugin.Scorer
}

// Ranking holds the classes in use.
type Ranking struct {
	rules    Rules
	cluster  *state.Cluster
	classes  map[string]*class
	clock    uint64 // counts answers, for dropping the class unused longest
	repelSeq uint64 // the cluster's, when the classes were made
}

const mostClasses = 48

// New gives a ranking over the cluster's nodes.
func New(cluster *state.Cluster, rules Rules) *Ranking {
	return &Ranking{rules: rules, cluster: cluster, classes: map[string]*class{}}
}

// Reset forgets all verdicts: something changed that is not on any node, such as
// a namespace's labels.
func (r *Ranking) Reset() { clear(r.classes) }

// Best gives the best node's slot; where none fits, ok is false and Why says why.
func (r *Ranking) Best(p *plugin.Pod) (best state.Slot, ok bool) {
	slot, score := r.refresh(p).best()
	return state.Slot(slot), score >= 0
}

// Why collects why no node takes the pod: the phrase for the pod's condition,
// and the names of the plugins that rejected it.
func (r *Ranking) Why(p *plugin.Pod) (message string, plugins []string) {
	c := r.refresh(p)
	counts := map[string]int{}
	nodes := 0
	for s := range r.cluster.Slots() {
		if r.cluster.Node(state.Slot(s)) == nil {
			continue
		}
		nodes++
		reject := c.rejection(s)
		for _, reason := range reject.Reasons {
			counts[reason]++
		}
		if !slices.Contains(plugins, reject.Plugin) && reject.Plugin != "" {
			plugins = append(plugins, reject.Plugin)
		}
	}
	if nodes == 0 {
		return "no nodes available to schedule pods", nil
	}
	var parts []string
	for reason, n := range counts {
		parts = append(parts, fmt.Sprintf("%d %s", n, reason))
	}
	slices.Sort(parts)
	slices.Sort(plugins)
	return fmt.Sprintf("0/%d nodes are available: %s.", nodes, strings.Join(parts, ", ")), plugins
}

// Resolvable are the nodes that rejected the pod for a reason that fewer pods
// would cure, and the number of those that did not.
func (r *Ranking) Resolvable(p *plugin.Pod) (nodes []*plugin.Node, lasting int) {
	c := r.refresh(p)
	for s := range r.cluster.Slots() {
		node := r.cluster.Node(state.Slot(s))
		if node == nil {
			continue
		}
		if c.rejection(s).Lasting {
			lasting++
			continue
		}
		nodes = append(nodes, node)
	}
	return nodes, lasting
}

// Fits asks the filters alone, for a node as it might become.
func (r *Ranking) Fits(p *plugin.Pod, node *plugin.Node) bool {
	for _, f := range r.rules.Filters {
		if !f.Filter(p, node).OK() {
			return false
		}
	}
	return true
}

func (r *Ranking) refresh(p *plugin.Pod) *class {
	r.clock++
	keys, seq := r.cluster.RepellingKeys()
	if seq != r.repelSeq {
		r.Reset()
		r.repelSeq = seq
	}
	c := r.classes[p.Class]
	if c == nil {
		if len(r.classes) >= mostClasses {
			r.dropOldest()
		}
		c = &class{rules: &r.rules, cluster: r.cluster, pod: p}
		for _, g := range r.rules.Groupers {
			for _, constraint := range g.Constraints(p, keys) {
				c.constraints = append(c.constraints, newTally(constraint))
			}
		}
		r.classes[p.Class] = c
		c.rebuild()
	}
	c.used = r.clock
	c.follow()
	return c
}

func (r *Ranking) dropOldest() {
	var oldest string
	used := ^uint64(0)
	for key, c := range r.classes {
		if c.used < used {
			oldest, used = key, c.used
		}
	}
	delete(r.classes, oldest)
}
