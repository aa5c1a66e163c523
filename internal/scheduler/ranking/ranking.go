// Package ranking answers "which node is best for this pod" without looking at
// every node for every pod. Pods that all rules treat alike form a class; each
// class keeps the verdict on every node in a tournament tree and, before it
// answers, looks again only at nodes that changed since its last answer. It
// decides; it does no I/O and takes no locks.
package ranking

import (
	"fmt"
	"slices"
	"strings"

	"nau/internal/scheduler/plugin"
	"nau/internal/scheduler/state"
)

// Rules are the filters and scorers in the order in which they are asked; the
// first filter that rejects a node is the one that is reported.
type Rules struct {
	Filters []plugin.Filter
	Scorers []plugin.Scorer
}

// Ranking holds the classes in use.
type Ranking struct {
	rules   Rules
	cluster *state.Cluster
	classes map[string]*class
	clock   uint64 // counts answers, for dropping the class unused longest
}

const mostClasses = 48

// New gives a ranking over the cluster's nodes.
func New(cluster *state.Cluster, rules Rules) *Ranking {
	return &Ranking{rules: rules, cluster: cluster, classes: map[string]*class{}}
}

// class is the standing of every node for one kind of pod.
type class struct {
	seen    uint64 // the cluster's sequence up to which this is true
	used    uint64
	tree    tournament
	rejects []plugin.Rejection // per slot
	raw     [][]int64          // per scorer that needs scaling, per slot
	top     []int64            // per scorer: the greatest raw score seen
}

// Best gives the best node's slot; where none fits, ok is false and Why says why.
func (r *Ranking) Best(p *plugin.Pod) (best state.Slot, ok bool) {
	c := r.refresh(p)
	slot, score := c.tree.best()
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
		reject := &c.rejects[s]
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

func (r *Ranking) refresh(p *plugin.Pod) *class {
	r.clock++
	c := r.classes[p.Class]
	if c == nil {
		if len(r.classes) >= mostClasses {
			r.dropOldest()
		}
		c = &class{}
		r.classes[p.Class] = c
		r.rebuild(c, p)
	}
	c.used = r.clock
	changed, ok := r.cluster.ChangesSince(c.seen)
	if !ok || r.cluster.Slots() > len(c.rejects) {
		r.rebuild(c, p)
		return c
	}
	for i, s := range changed {
		if i > 0 && changed[i-1] == s {
			continue
		}
		if !r.look(c, p, s) {
			r.rebuild(c, p)
			return c
		}
	}
	c.seen = r.cluster.Seq()
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

// rebuild looks at every node. Raw scores come first, since scaling needs the
// greatest of them.
func (r *Ranking) rebuild(c *class, p *plugin.Pod) {
	slots := r.cluster.Slots()
	c.rejects = make([]plugin.Rejection, slots)
	c.raw = make([][]int64, len(r.rules.Scorers))
	c.top = make([]int64, len(r.rules.Scorers))
	c.tree.reset(slots)
	for s := range slots {
		node := r.cluster.Node(state.Slot(s))
		if node == nil {
			continue
		}
		c.rejects[s] = r.filter(p, node)
		if !c.rejects[s].OK() {
			continue
		}
		for i, scorer := range r.rules.Scorers {
			if scorer.Shape() == plugin.Percent {
				continue
			}
			if c.raw[i] == nil {
				c.raw[i] = make([]int64, slots)
			}
			c.raw[i][s] = scorer.Score(p, node)
			c.top[i] = max(c.top[i], c.raw[i][s])
		}
	}
	for s := range slots {
		if node := r.cluster.Node(state.Slot(s)); node != nil && c.rejects[s].OK() {
			c.tree.leaves(s, r.total(c, p, node, s))
		}
	}
	c.tree.build()
	c.seen = r.cluster.Seq()
}

// look re-examines one node. It reports false where a new greatest raw score
// changes the scale of all others.
func (r *Ranking) look(c *class, p *plugin.Pod, slot state.Slot) bool {
	s := int(slot)
	node := r.cluster.Node(slot)
	if node == nil {
		c.rejects[s] = plugin.Rejection{}
		c.tree.set(s, -1)
		return true
	}
	c.rejects[s] = r.filter(p, node)
	if !c.rejects[s].OK() {
		c.tree.set(s, -1)
		return true
	}
	for i, scorer := range r.rules.Scorers {
		if scorer.Shape() == plugin.Percent {
			continue
		}
		if c.raw[i] == nil {
			c.raw[i] = make([]int64, len(c.rejects))
		}
		c.raw[i][s] = scorer.Score(p, node)
		if c.raw[i][s] > c.top[i] {
			return false
		}
	}
	c.tree.set(s, r.total(c, p, node, s))
	return true
}

func (r *Ranking) filter(p *plugin.Pod, node *plugin.Node) plugin.Rejection {
	for _, f := range r.rules.Filters {
		if reject := f.Filter(p, node); !reject.OK() {
			return reject
		}
	}
	return plugin.Rejection{}
}

func (r *Ranking) total(c *class, p *plugin.Pod, node *plugin.Node, s int) int64 {
	var sum int64
	for i, scorer := range r.rules.Scorers {
		var score int64
		switch scorer.Shape() {
		case plugin.Percent:
			score = scorer.Score(p, node)
		case plugin.Highest:
			if c.top[i] > 0 {
				score = 100 * c.raw[i][s] / c.top[i]
			}
		case plugin.Lowest:
			score = 100
			if c.top[i] > 0 {
				score = 100 - 100*c.raw[i][s]/c.top[i]
			}
		}
		sum += score * scorer.Weight()
	}
	return sum
}
