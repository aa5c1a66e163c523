// Package preemption decides which pods of lower priority have to leave so that
// a pod of higher priority fits (KEP-564). It evicts nobody: the scheduler acts
// on what is decided here.
package preemption

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"nau/internal/scheduler/plugin"
)

// Candidate is a node on which the pod fits once the victims are gone.
type Candidate struct {
	Node       *plugin.Node
	Victims    []*plugin.Pod // highest priority first
	Violations int           // disruption budgets that the evictions would break
}

// Phrases for nodes on which nobody is evicted.
const (
	NotHelpful = "Preemption is not helpful for scheduling"
	NoVictims  = "No preemption victims found for incoming pod"
)

// Allowed tells whether the pod may evict others at all.
func Allowed(p *plugin.Pod) bool {
	policy := p.Object.Spec.PreemptionPolicy
	return policy == nil || *policy != corev1.PreemptNever
}

// Decide picks among nodes the one whose eviction hurts least: fewest broken
// disruption budgets, then the least important victims, then the fewest. fits
// judges the pod on a node as it would be.
func Decide(p *plugin.Pod, nodes []*plugin.Node, budgets []*policyv1.PodDisruptionBudget, fits func(*plugin.Pod, *plugin.Node) bool) (Candidate, bool) {
	var best Candidate
	found := false
	for _, node := range nodes {
		c, ok := victims(p, node, budgets, fits)
		if ok && (!found || less(c, best)) {
			best, found = c, true
		}
	}
	return best, found
}

// victims are the pods that have to leave one node, as few as will do: all of
// lower priority leave, then each that still fits comes back, those protected
// by a budget and the important first.
func victims(p *plugin.Pod, node *plugin.Node, budgets []*policyv1.PodDisruptionBudget, fits func(*plugin.Pod, *plugin.Node) bool) (Candidate, bool) {
	var lower []*plugin.Pod
	for _, other := range node.Pods {
		if other.Priority < p.Priority {
			lower = append(lower, other)
		}
	}
	if len(lower) == 0 {
		return Candidate{}, false
	}
	without := copyWithout(node, lower)
	if !fits(p, without) {
		return Candidate{}, false
	}
	slices.SortFunc(lower, func(a, b *plugin.Pod) int {
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), started(a).Compare(started(b).Time), cmp.Compare(a.Object.UID, b.Object.UID))
	})
	broken := breaking(lower, budgets)
	c := Candidate{Node: node}
	for _, protected := range []bool{true, false} {
		for _, other := range lower {
			if broken[other.Object.UID] != protected {
				continue
			}
			add(without, other, 1)
			if fits(p, without) {
				continue
			}
			add(without, other, -1)
			c.Victims = append(c.Victims, other)
			if protected {
				c.Violations++
			}
		}
	}
	slices.SortStableFunc(c.Victims, func(a, b *plugin.Pod) int { return cmp.Compare(b.Priority, a.Priority) })
	return c, len(c.Victims) > 0
}

// started is when a pod began to run; a pod that has not counts as latest.
func started(p *plugin.Pod) metav1.Time {
	if p.Object.Status.StartTime != nil {
		return *p.Object.Status.StartTime
	}
	return metav1.Unix(1<<40, 0)
}

// breaking tells which of the pods cannot leave within their budgets.
func breaking(pods []*plugin.Pod, budgets []*policyv1.PodDisruptionBudget) map[types.UID]bool {
	left := make([]int32, len(budgets))
	selectors := make([]labels.Selector, len(budgets))
	for i, b := range budgets {
		left[i] = b.Status.DisruptionsAllowed
		selectors[i], _ = metav1.LabelSelectorAsSelector(b.Spec.Selector)
	}
	out := map[types.UID]bool{}
	for _, p := range pods {
		for i, b := range budgets {
			if selectors[i] == nil || selectors[i].Empty() || b.Namespace != p.Object.Namespace || !selectors[i].Matches(labels.Set(p.Object.Labels)) {
				continue
			}
			if _, already := b.Status.DisruptedPods[p.Object.Name]; already {
				continue
			}
			if left[i]--; left[i] < 0 {
				out[p.Object.UID] = true
			}
		}
	}
	return out
}

func copyWithout(node *plugin.Node, pods []*plugin.Pod) *plugin.Node {
	n := *node
	n.Requested, n.Scoring = node.Requested.Clone(), node.Scoring.Clone()
	n.Ports = plugin.Ports{}
	for port, count := range node.Ports {
		n.Ports[port] = count
	}
	for _, p := range pods {
		add(&n, p, -1)
	}
	return &n
}

func add(n *plugin.Node, p *plugin.Pod, sign int64) {
	n.Requested.Add(&p.Requests, sign)
	n.PodCount += sign
	for _, port := range p.Ports {
		if n.Ports[port] += int(sign); n.Ports[port] <= 0 {
			delete(n.Ports, port)
		}
	}
}

func less(a, b Candidate) bool {
	return cmp.Or(
		cmp.Compare(a.Violations, b.Violations),
		cmp.Compare(a.Victims[0].Priority, b.Victims[0].Priority),
		cmp.Compare(sum(a.Victims), sum(b.Victims)),
		cmp.Compare(len(a.Victims), len(b.Victims)),
		started(b.Victims[0]).Compare(started(a.Victims[0]).Time),
		cmp.Compare(a.Node.Object.Name, b.Node.Object.Name),
	) < 0
}

func sum(pods []*plugin.Pod) (total int64) {
	for _, p := range pods {
		total += int64(p.Priority) + 1<<31
	}
	return total
}
