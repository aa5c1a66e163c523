package ranking

import (
	corev1 "k8s.io/api/core/v1"

	"nau/internal/scheduler/plugin"
)

// tally keeps the counts of one constraint: for every node, and added up for
// every domain.
type tally struct {
	plugin.Constraint
	// single: every node is a domain of its own, so that a verdict belongs to a
	// node and stays in its tree.
	single bool

	known   map[string]int64 // what a pod of a class counts
	perSlot []counted
	domains map[string]*domain
	levels  map[int64]int // count → domains that have it
	total   int64
	context plugin.Domain // Least, Domains and whether Total is 0, when single nodes were last judged
}

type counted struct {
	domain *domain // nil: the node has no label, or does not count
	value  string  // the label's, when it was counted
	n      int64
}

type domain struct {
	nodes int
	count int64
}

func newTally(c plugin.Constraint) *tally {
	return &tally{Constraint: c, single: c.Key == corev1.LabelHostname, known: map[string]int64{}}
}

func (t *tally) reset(slots int) {
	t.perSlot = make([]counted, slots)
	t.domains, t.levels, t.total = map[string]*domain{}, map[int64]int{}, 0
}

// count takes a node's pods into account anew, in the domain that it is in now.
func (t *tally) count(s int, node *plugin.Node, pod *plugin.Pod) {
	value, has := node.Object.Labels[t.Key]
	have := &t.perSlot[s]
	if has && !t.AnyNode {
		if ok, err := pod.Affinity.Match(node.Object); err != nil || !ok {
			has = false
		}
	}
	if have.domain != nil && (!has || have.value != value) {
		t.add(have.domain, -have.n)
		t.leave(have)
	}
	if !has {
		return
	}
	if have.domain == nil {
		have.domain = t.domains[value]
		if have.domain == nil {
			have.domain = &domain{}
			t.domains[value] = have.domain
			t.levels[0]++
		}
		have.value = value
		have.domain.nodes++
		have.n = 0
	}
	var n int64
	for _, other := range node.Pods {
		n += t.counts(other)
	}
	t.add(have.domain, n-have.n)
	have.n = n
}

func (t *tally) leave(have *counted) {
	have.domain.nodes--
	if have.domain.nodes == 0 {
		t.drop(have.domain.count)
		delete(t.domains, have.value)
	}
	have.domain, have.n = nil, 0
}

func (t *tally) add(d *domain, n int64) {
	if n == 0 {
		return
	}
	t.drop(d.count)
	d.count += n
	t.levels[d.count]++
	t.total += n
}

func (t *tally) drop(level int64) {
	if t.levels[level]--; t.levels[level] == 0 {
		delete(t.levels, level)
	}
}

func (t *tally) counts(other *plugin.Pod) int64 {
	n, ok := t.known[other.Class]
	if !ok {
		if len(t.known) > 4096 {
			clear(t.known)
		}
		n = t.Counts(other)
		t.known[other.Class] = n
	}
	return n
}

// at is what is known of a node's domain.
func (t *tally) at(node *plugin.Node) plugin.Domain {
	d := t.overall()
	if have := t.domains[node.Object.Labels[t.Key]]; have != nil {
		d.Count = have.count
	}
	return d
}

func (t *tally) overall() plugin.Domain {
	least, first := int64(0), true
	for level := range t.levels {
		if first || level < least {
			least, first = level, false
		}
	}
	return plugin.Domain{Least: least, Total: t.total, Domains: int64(len(t.domains))}
}

// verdict judges a node by its domain.
func (t *tally) verdict(node *plugin.Node) plugin.Rejection {
	if t.Fits == nil {
		return plugin.Rejection{}
	}
	if _, has := node.Object.Labels[t.Key]; !has {
		if t.Optional {
			return plugin.Rejection{}
		}
		return plugin.Rejection{Plugin: t.Plugin, Reasons: []string{t.Missing}, Lasting: true}
	}
	if !t.Fits(t.at(node)) {
		return plugin.Rejection{Plugin: t.Plugin, Reasons: []string{t.Reason}}
	}
	return plugin.Rejection{}
}

func (t *tally) noteContext() { t.context = t.overall() }

// contextMoved tells whether what all domains share has changed so that verdicts
// on single nodes may be out of date.
func (t *tally) contextMoved() bool {
	now := t.overall()
	return t.Fits != nil && (now.Least != t.context.Least || now.Domains != t.context.Domains || (now.Total == 0) != (t.context.Total == 0))
}
