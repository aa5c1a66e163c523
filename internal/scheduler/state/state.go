// Package state is the scheduler's picture of the cluster: per node what it has
// and what is used, kept by small changes. A log of changed nodes lets rankings
// catch up without looking at the nodes that stayed the same. It does no I/O
// and takes no locks: the scheduler serialises access.
package state

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"nau/internal/scheduler/plugin"
)

// Slot is a node's place in the picture, stable as long as the node exists.
type Slot int

// Cluster is the picture. A slot whose node has no Object holds only the
// accounts of pods bound to a node that has not been seen yet.
type Cluster struct {
	nodes  []*plugin.Node // nil: a free slot
	byName map[string]Slot
	free   []Slot
	pods   map[types.UID]placed

	repelling map[string]int // topology keys of required anti-affinity terms → how many bound pods have one
	repelSeq  uint64         // changes of the set of keys

	changes []Slot // ring of the latest changes; change i stands at i % len
	seq     uint64 // number of changes so far
}

type placed struct {
	pod     *plugin.Pod
	slot    Slot
	assumed bool
}

const history = 1 << 14

// New gives an empty picture.
func New() *Cluster {
	return &Cluster{byName: map[string]Slot{}, pods: map[types.UID]placed{}, repelling: map[string]int{}, changes: make([]Slot, history)}
}

// Slots is one more than the greatest slot in use.
func (c *Cluster) Slots() int { return len(c.nodes) }

// Node gives the node in a slot, or nil where there is none to schedule to.
func (c *Cluster) Node(s Slot) *plugin.Node {
	if n := c.nodes[s]; n != nil && n.Object != nil {
		return n
	}
	return nil
}

// Lookup finds a node by name.
func (c *Cluster) Lookup(name string) *plugin.Node {
	if s, ok := c.byName[name]; ok {
		return c.Node(s)
	}
	return nil
}

// Count is the number of nodes to schedule to.
func (c *Cluster) Count() int {
	count := 0
	for _, n := range c.nodes {
		if n != nil && n.Object != nil {
			count++
		}
	}
	return count
}

// Seq is the number of changes so far, for ChangesSince.
func (c *Cluster) Seq() uint64 { return c.seq }

// ChangesSince gives the slots changed after seq, oldest first, possibly with
// repetitions; ok is false where they are no longer known and the caller must
// look at every slot.
func (c *Cluster) ChangesSince(seq uint64) (slots []Slot, ok bool) {
	if c.seq-seq > history {
		return nil, false
	}
	for i := seq; i < c.seq; i++ {
		slots = append(slots, c.changes[i%history])
	}
	return slots, true
}

func (c *Cluster) touch(s Slot) {
	c.changes[c.seq%history] = s
	c.seq++
}

func (c *Cluster) slot(name string) Slot {
	if s, ok := c.byName[name]; ok {
		return s
	}
	node := &plugin.Node{Ports: plugin.Ports{}, Pods: map[types.UID]*plugin.Pod{}, Repelling: map[types.UID]*plugin.Pod{}}
	var s Slot
	if last := len(c.free) - 1; last >= 0 {
		s = c.free[last]
		c.free = c.free[:last]
		c.nodes[s] = node
	} else {
		s = Slot(len(c.nodes))
		c.nodes = append(c.nodes, node)
	}
	c.byName[name] = s
	return s
}

func (c *Cluster) dropIfEmpty(name string, s Slot) {
	if n := c.nodes[s]; n.Object == nil && n.PodCount == 0 {
		c.nodes[s] = nil
		c.free = append(c.free, s)
		delete(c.byName, name)
	}
}

// SetNode adds or replaces a node.
func (c *Cluster) SetNode(node *corev1.Node) *plugin.Node {
	s := c.slot(node.Name)
	n := c.nodes[s]
	n.Object = node
	n.Allocatable, n.MaxPods = plugin.FromList(node.Status.Allocatable)
	c.touch(s)
	return n
}

// RemoveNode forgets a node; pods still bound to it stay accounted.
func (c *Cluster) RemoveNode(name string) {
	s, ok := c.byName[name]
	if !ok {
		return
	}
	c.nodes[s].Object = nil
	c.touch(s)
	c.dropIfEmpty(name, s)
}

// Assume accounts a pod to the node in the slot before the API has heard of it.
func (c *Cluster) Assume(p *plugin.Pod, s Slot) { c.place(p, s, true) }

// AssumeOn accounts a pod to a node by name.
func (c *Cluster) AssumeOn(p *plugin.Pod, node string) { c.place(p, c.slot(node), true) }

// SetPod accounts a bound pod, or moves it to where it really is.
func (c *Cluster) SetPod(p *plugin.Pod) {
	s := c.slot(p.Object.Spec.NodeName)
	if have, ok := c.pods[p.Object.UID]; ok && have.slot == s && have.pod.Class == p.Class {
		c.pods[p.Object.UID] = placed{have.pod, s, false} // the bind that was assumed: nothing else changes
		have.pod.Object = p.Object
		return
	}
	c.place(p, s, false)
}

func (c *Cluster) place(p *plugin.Pod, s Slot, assumed bool) {
	c.RemovePod(p.Object.UID)
	c.account(p, s, 1)
	c.pods[p.Object.UID] = placed{p, s, assumed}
}

// RemovePod takes a pod out of the accounts and gives the node that it left,
// which may be nil.
func (c *Cluster) RemovePod(uid types.UID) *plugin.Node {
	have, ok := c.pods[uid]
	if !ok {
		return nil
	}
	delete(c.pods, uid)
	c.account(have.pod, have.slot, -1)
	node := c.nodes[have.slot]
	if node.Object == nil {
		for name, s := range c.byName {
			if s == have.slot {
				c.dropIfEmpty(name, s)
				break
			}
		}
		return nil
	}
	return node
}

// Forget undoes an Assume that did not come true; a pod that the API has
// confirmed meanwhile stays.
func (c *Cluster) Forget(uid types.UID) {
	if have, ok := c.pods[uid]; ok && have.assumed {
		c.RemovePod(uid)
	}
}

// Holds tells whether the pod is accounted to a node.
func (c *Cluster) Holds(uid types.UID) bool {
	_, ok := c.pods[uid]
	return ok
}

func (c *Cluster) account(p *plugin.Pod, s Slot, sign int64) {
	n := c.nodes[s]
	n.Requested.Add(&p.Requests, sign)
	n.Scoring.Add(&p.Scoring, sign)
	n.PodCount += sign
	if sign > 0 {
		n.Pods[p.Object.UID] = p
	} else {
		delete(n.Pods, p.Object.UID)
	}
	if len(p.Repels) > 0 {
		c.accountRepels(p, n, sign)
	}
	for _, port := range p.Ports {
		if n.Ports[port] += int(sign); n.Ports[port] == 0 {
			delete(n.Ports, port)
		}
	}
	c.touch(s)
}

func (c *Cluster) accountRepels(p *plugin.Pod, n *plugin.Node, sign int64) {
	if sign > 0 {
		n.Repelling[p.Object.UID] = p
	} else {
		delete(n.Repelling, p.Object.UID)
	}
	for i := range p.Repels {
		key := p.Repels[i].Key
		before := c.repelling[key]
		c.repelling[key] += int(sign)
		if c.repelling[key] == 0 {
			delete(c.repelling, key)
		}
		if before == 0 || before+int(sign) == 0 {
			c.repelSeq++
		}
	}
}

// RepellingKeys are the topology keys by which bound pods keep others away, and
// a number that changes whenever the set does.
func (c *Cluster) RepellingKeys() (keys []string, seq uint64) {
	for key := range c.repelling {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys, c.repelSeq
}
