package ranking

import (
	"strings"

	"nau/internal/scheduler/plugin"
	"nau/internal/scheduler/state"
)

// class is the standing of every node for one kind of pod.
type class struct {
	rules   *Rules
	cluster *state.Cluster
	pod     *plugin.Pod // any pod of the class

	seen uint64 // the cluster's sequence up to which this is true
	used uint64

	constraints []*tally
	rejects     []plugin.Rejection // per slot, by filters and by constraints on single nodes
	raw         [][]int64          // per scorer that needs scaling, per slot
	top         []int64            // per scorer: the greatest raw score seen
	groups      []*group
	byTuple     map[string]int
	home        []place // per slot
}

// group is the nodes that no constraint on wider domains tells apart.
type group struct {
	tuple string
	slot  []int // member → slot
	tree  tournament
	any   int // a member's slot, for reading the domains' values
}

// place is where a slot stands; group is -1 where it has no node.
type place struct{ group, member int }

const separator = "\x00"

// tuple names the combination of wide domains that a node is in.
func (c *class) tuple(node *plugin.Node) string {
	var b strings.Builder
	for _, t := range c.constraints {
		if !t.single {
			value, has := node.Object.Labels[t.Key]
			if !has {
				b.WriteString("-")
			}
			b.WriteString(value)
			b.WriteString(separator)
		}
	}
	return b.String()
}

// follow looks again at the nodes that changed.
func (c *class) follow() {
	changed, ok := c.cluster.ChangesSince(c.seen)
	if !ok || c.cluster.Slots() > len(c.rejects) {
		c.rebuild()
		return
	}
	for i, s := range changed {
		if i > 0 && changed[i-1] == s {
			continue
		}
		if !c.look(int(s)) {
			c.rebuild()
			return
		}
	}
	for _, t := range c.constraints {
		if t.single && t.contextMoved() {
			c.judgeAll()
			break
		}
	}
	c.seen = c.cluster.Seq()
}

// rebuild looks at every node.
func (c *class) rebuild() {
	slots := c.cluster.Slots()
	c.rejects = make([]plugin.Rejection, slots)
	c.raw = make([][]int64, len(c.rules.Scorers))
	c.top = make([]int64, len(c.rules.Scorers))
	c.home = make([]place, slots)
	c.groups, c.byTuple = nil, map[string]int{}
	for _, t := range c.constraints {
		t.reset(slots)
	}
	for s := range slots {
		c.home[s].group = -1
		node := c.cluster.Node(state.Slot(s))
		if node == nil {
			continue
		}
		c.settle(s, node)
		for _, t := range c.constraints {
			t.count(s, node, c.pod)
		}
	}
	for _, g := range c.groups {
		g.tree.reset(len(g.slot))
	}
	c.judgeAll()
	c.seen = c.cluster.Seq()
}

func (c *class) settle(s int, node *plugin.Node) {
	tuple := c.tuple(node)
	i, ok := c.byTuple[tuple]
	if !ok {
		i = len(c.groups)
		c.byTuple[tuple] = i
		c.groups = append(c.groups, &group{tuple: tuple, any: s})
	}
	g := c.groups[i]
	c.home[s] = place{i, len(g.slot)}
	g.slot = append(g.slot, s)
}

// judgeAll gives every node its verdict anew; the counts stand already. Raw
// scores come first, since scaling needs the greatest of them.
func (c *class) judgeAll() {
	for _, t := range c.constraints {
		t.noteContext()
	}
	for s := range c.home {
		if c.home[s].group < 0 {
			continue
		}
		node := c.cluster.Node(state.Slot(s))
		c.rejects[s] = c.judge(s, node)
		if c.rejects[s].OK() {
			c.rawScores(s, node)
		}
	}
	for s := range c.home {
		if c.home[s].group < 0 {
			continue
		}
		score := int64(-1)
		if c.rejects[s].OK() {
			score = c.total(s, c.cluster.Node(state.Slot(s)))
		}
		c.groups[c.home[s].group].tree.scores[c.home[s].member] = score
	}
	for _, g := range c.groups {
		g.tree.build()
	}
}

// look re-examines one node. It reports false where the whole class has to be
// built anew: the node moved to other domains, or a new greatest raw score
// changes the scale of all others.
func (c *class) look(s int) bool {
	node := c.cluster.Node(state.Slot(s))
	home := c.home[s]
	if node == nil {
		return home.group < 0
	}
	if home.group < 0 || c.groups[home.group].tuple != c.tuple(node) {
		return false
	}
	for _, t := range c.constraints {
		t.count(s, node, c.pod)
	}
	tree := &c.groups[home.group].tree
	c.rejects[s] = c.judge(s, node)
	if !c.rejects[s].OK() {
		tree.set(home.member, -1)
		return true
	}
	if c.rawScores(s, node) {
		return false
	}
	tree.set(home.member, c.total(s, node))
	return true
}

// judge asks the filters and the constraints on single nodes.
func (c *class) judge(s int, node *plugin.Node) plugin.Rejection {
	for _, f := range c.rules.Filters {
		if reject := f.Filter(c.pod, node); !reject.OK() {
			return reject
		}
	}
	for _, t := range c.constraints {
		if t.single {
			if reject := t.verdict(node); !reject.OK() {
				return reject
			}
		}
	}
	return plugin.Rejection{}
}

// rawScores notes the scores that need scaling and tells whether one of them is
// the greatest so far.
func (c *class) rawScores(s int, node *plugin.Node) (greatest bool) {
	for i, scorer := range c.rules.Scorers {
		if scorer.Shape() == plugin.Percent {
			continue
		}
		if c.raw[i] == nil {
			c.raw[i] = make([]int64, len(c.home))
		}
		c.raw[i][s] = scorer.Score(c.pod, node)
		if c.raw[i][s] > c.top[i] {
			c.top[i] = c.raw[i][s]
			greatest = true
		}
	}
	return greatest
}

func (c *class) total(s int, node *plugin.Node) int64 {
	var sum int64
	for i, scorer := range c.rules.Scorers {
		var score int64
		switch scorer.Shape() {
		case plugin.Percent:
			score = scorer.Score(c.pod, node)
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
	for _, t := range c.constraints {
		if t.single && t.Score != nil {
			sum += t.Weight * t.Score(t.at(node).Count)
		}
	}
	return sum
}

// best is the best node of the groups whose domains the constraints accept.
func (c *class) best() (slot int, score int64) {
	slot, score = 0, -1
	for _, g := range c.groups {
		member, own := g.tree.best()
		if own < 0 {
			continue
		}
		node := c.cluster.Node(state.Slot(g.any))
		extra, reject := c.wide(node)
		if reject.OK() && own+extra > score {
			slot, score = g.slot[member], own+extra
		}
	}
	return slot, score
}

// wide asks the constraints on domains wider than a node.
func (c *class) wide(node *plugin.Node) (score int64, _ plugin.Rejection) {
	for _, t := range c.constraints {
		if t.single {
			continue
		}
		if reject := t.verdict(node); !reject.OK() {
			return 0, reject
		}
		if t.Score != nil {
			score += t.Weight * t.Score(t.at(node).Count)
		}
	}
	return score, plugin.Rejection{}
}

// rejection is why a slot's node does not take the pod.
func (c *class) rejection(s int) plugin.Rejection {
	if !c.rejects[s].OK() {
		return c.rejects[s]
	}
	_, reject := c.wide(c.cluster.Node(state.Slot(s)))
	return reject
}
