package garbagecollector

import (
	"slices"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// node is what the graph knows of an object. It is immutable; a change of the
// object makes another.
type node struct {
	uid             types.UID
	resource        schema.GroupVersionResource
	kind            schema.GroupVersionKind
	namespace, name string
	owners          []metav1.OwnerReference
	deleting        bool // has a deletion timestamp
	foreground      bool // deleting, and waits for its dependents to be gone
	orphaning       bool // deleting, and waits for its dependents to be let go
}

// graph is who belongs to whom, over all resources. Owners need not be known to
// have dependents: the two are reported in any order.
type graph struct {
	mu         sync.RWMutex
	nodes      map[types.UID]*node
	dependents map[types.UID]map[types.UID]*node // by the owner's UID
	settled    bool                              // every resource has been listed once
}

func newGraph() *graph {
	return &graph{nodes: map[types.UID]*node{}, dependents: map[types.UID]map[types.UID]*node{}}
}

// todo names the objects that a change gives cause to look at.
type todo struct {
	remove []types.UID // might have to be deleted, or are waiting to be
	orphan []types.UID // want their dependents let go
}

func nodeOf(resource schema.GroupVersionResource, kind schema.GroupVersionKind, o metav1.Object) *node {
	deleting := o.GetDeletionTimestamp() != nil
	return &node{
		uid: o.GetUID(), resource: resource, kind: kind, namespace: o.GetNamespace(), name: o.GetName(),
		owners:     o.GetOwnerReferences(),
		deleting:   deleting,
		foreground: deleting && slices.Contains(o.GetFinalizers(), metav1.FinalizerDeleteDependents),
		orphaning:  deleting && slices.Contains(o.GetFinalizers(), metav1.FinalizerOrphanDependents),
	}
}

// observe takes an object's present state up.
func (g *graph) observe(n *node) (t todo) {
	g.mu.Lock()
	defer g.mu.Unlock()
	old := g.nodes[n.uid]
	if old == nil {
		old = &node{}
	}
	g.nodes[n.uid] = n
	for _, ref := range n.owners {
		if g.dependents[ref.UID] == nil {
			g.dependents[ref.UID] = map[types.UID]*node{}
		}
		g.dependents[ref.UID][n.uid] = n
		owner := g.nodes[ref.UID]
		if g.settled && !n.deleting && (owner == nil || owner.foreground) && !slices.ContainsFunc(old.owners, is(ref.UID)) {
			t.remove = append(t.remove, n.uid)
		}
	}
	for _, ref := range old.owners {
		i := slices.IndexFunc(n.owners, is(ref.UID))
		if i < 0 {
			g.part(ref.UID, n.uid)
		}
		if blocks(ref) && (i < 0 || !blocks(n.owners[i])) {
			t.remove = append(t.remove, g.waiting(ref.UID)...)
		}
	}
	if n.orphaning && !old.orphaning {
		t.orphan = append(t.orphan, n.uid)
	}
	if n.foreground && !old.foreground {
		t.remove = append(t.remove, n.uid)
		for uid := range g.dependents[n.uid] {
			t.remove = append(t.remove, uid)
		}
	}
	return t
}

// forget takes an object out: its dependents may have lost their last owner, and
// owners who waited for it may go on.
func (g *graph) forget(uid types.UID) (t todo) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.nodes[uid]
	delete(g.nodes, uid)
	if n != nil {
		for _, ref := range n.owners {
			g.part(ref.UID, uid)
			t.remove = append(t.remove, g.waiting(ref.UID)...)
		}
	}
	for dependent := range g.dependents[uid] {
		t.remove = append(t.remove, dependent)
	}
	return t
}

func (g *graph) part(owner, dependent types.UID) {
	delete(g.dependents[owner], dependent)
	if len(g.dependents[owner]) == 0 {
		delete(g.dependents, owner)
	}
}

// waiting is the owner itself, if it waits for its dependents to be gone.
func (g *graph) waiting(owner types.UID) []types.UID {
	if o := g.nodes[owner]; o != nil && o.foreground {
		return []types.UID{owner}
	}
	return nil
}

// settle ends the initial listing: now an owner that is unknown is suspicious.
func (g *graph) settle() (t todo) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.settled = true
	for _, n := range g.nodes {
		for _, ref := range n.owners {
			if g.nodes[ref.UID] == nil {
				t.remove = append(t.remove, n.uid)
				break
			}
		}
		if n.orphaning {
			t.orphan = append(t.orphan, n.uid)
		}
		if n.foreground {
			t.remove = append(t.remove, n.uid)
		}
	}
	return t
}

func (g *graph) get(uid types.UID) *node {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.nodes[uid]
}

// of are the objects that name uid as an owner.
func (g *graph) of(uid types.UID) []*node {
	g.mu.RLock()
	defer g.mu.RUnlock()
	var out []*node
	for _, n := range g.dependents[uid] {
		out = append(out, n)
	}
	return out
}

// all are the UIDs known of a resource.
func (g *graph) all(resource schema.GroupVersionResource) map[types.UID]bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	out := map[types.UID]bool{}
	for uid, n := range g.nodes {
		if n.resource == resource {
			out[uid] = true
		}
	}
	return out
}

func is(uid types.UID) func(metav1.OwnerReference) bool {
	return func(ref metav1.OwnerReference) bool { return ref.UID == uid }
}

// blocks tells whether the owner's foreground deletion waits for the dependent.
func blocks(ref metav1.OwnerReference) bool {
	return ref.BlockOwnerDeletion != nil && *ref.BlockOwnerDeletion
}
