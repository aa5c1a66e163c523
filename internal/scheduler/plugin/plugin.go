// Package plugin is the vocabulary between the scheduler and its rules: what a
// pod asks for, what a node has left, and the points at which a rule is heard.
// It decides nothing and talks to nobody. The scheduler, its state and the
// rules below plugins/ import it.
package plugin

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// Rejection says why a pod does not fit a node. The zero value means that it
// fits.
type Rejection struct {
	Plugin string
	// Reasons are the phrases that end up in "0/3 nodes are available: …".
	Reasons []string
	// Lasting is set where removing pods from the node cannot help (the wrong
	// labels, a taint), so that preemption need not look there.
	Lasting bool
}

// OK tells whether the pod fits.
func (r Rejection) OK() bool { return len(r.Reasons) == 0 }

// Filter is a rule that a node must satisfy. It looks at the pod and the node
// only: a result stays true until either changes.
type Filter interface {
	Name() string
	Filter(*Pod, *Node) Rejection
	// Helps tells whether the event may turn a rejection of this plugin into an
	// acceptance; the queue wakes only pods for which it does.
	Helps(Event, *Pod) bool
}

// Constraint is a rule of one pod about the pods that are already there,
// counted by topology domain: the nodes that share a label's value. The ranking
// keeps the counts; a constraint only says what counts and what fits.
type Constraint struct {
	Plugin string
	Key    string // the label whose values are the domains
	// Counts is how much a pod on a node counts. Pods of one class count alike.
	Counts func(other *Pod) int64
	// Fits judges a domain; nil for a constraint that only ranks.
	Fits func(Domain) bool
	// Reason and Missing are the phrases for a domain that does not fit, and for
	// a node without the label.
	Reason, Missing string
	// Score ranks a domain, 0 to 100; nil for a constraint that only filters.
	Score  func(count int64) int64
	Weight int64
	// AnyNode leaves nodes that the pod's node affinity excludes among the domains.
	AnyNode bool
	// Optional constraints let a node without the label pass.
	Optional bool
}

// Domain is what is known of one topology domain.
type Domain struct {
	Count   int64 // in this domain
	Least   int64 // in the domain with the fewest
	Total   int64 // in all domains
	Domains int64 // how many domains there are
}

// Grouper is a rule that looks at the pods around: it gives a pod's constraints.
type Grouper interface {
	Name() string
	Constraints(p *Pod, keys []string) []Constraint
	Helps(Event, *Pod) bool
}

// Shape says how raw scores become 0 to 100.
type Shape int

const (
	// Percent scores are 0 to 100 already.
	Percent Shape = iota
	// Highest scores are scaled so that the greatest raw score is 100.
	Highest
	// Lowest scores are scaled so that 0 is 100 and the greatest raw score 0.
	Lowest
)

// Scorer ranks the nodes that passed all filters.
type Scorer interface {
	Name() string
	Weight() int64
	Shape() Shape
	Score(*Pod, *Node) int64
}

// EventKind is a change in the cluster that may make a waiting pod fit.
type EventKind int

const (
	NodeAdded EventKind = iota
	// NodeChanged covers labels, taints, allocatable resources and spec.unschedulable.
	NodeChanged
	// PodLeft: a pod bound to a node is gone or has ended.
	PodLeft
	// PodChanged: the waiting pod itself was updated.
	PodChanged
	// PodBound: another pod has got a node; pods that want to be near it may fit.
	PodBound
	// PodShrunk: a bound pod asks for less than before.
	PodShrunk
)

// Event is one such change. Node is the node's new state for the node kinds,
// and where known the node that a pod left.
type Event struct {
	Kind EventKind
	Node *Node
	Pod  *Pod
}

// Pod is a pod with all that the rules need, worked out once.
type Pod struct {
	Object   *corev1.Pod
	Requests Resources
	// Scoring has upstream's assumed requests (100m CPU, 200 MiB) where a
	// container states none, so that empty pods spread too.
	Scoring  Resources
	Ports    []Port
	Affinity nodeaffinity.RequiredNodeAffinity
	// Repels are its required anti-affinity terms: they bind pods that come later.
	Repels   []Term
	Priority int32
	// Class is equal for pods that every rule treats alike.
	Class string
}

// Node is what one node has and what is used of it. It is owned by the state
// and is only valid during the call that hands it out.
type Node struct {
	Object      *corev1.Node
	Allocatable Resources
	MaxPods     int64
	Requested   Resources
	Scoring     Resources
	PodCount    int64
	Ports       Ports
	Pods        map[types.UID]*Pod
	// Repelling are those of Pods that have Repels.
	Repelling map[types.UID]*Pod
}

// Port is a host port that a pod wants.
type Port struct {
	IP       string // "" and "0.0.0.0" mean all addresses
	Protocol corev1.Protocol
	Port     int32
}

// Ports counts the host ports in use on a node.
type Ports map[Port]int

// Conflicts tells whether p cannot be had beside the ports in use.
func (s Ports) Conflicts(p Port) bool {
	for used := range s {
		if used.Port != p.Port || used.Protocol != p.Protocol {
			continue
		}
		if used.IP == p.IP || anyAddress(used.IP) || anyAddress(p.IP) {
			return true
		}
	}
	return false
}

func anyAddress(ip string) bool { return ip == "" || ip == "0.0.0.0" || ip == "::" }
