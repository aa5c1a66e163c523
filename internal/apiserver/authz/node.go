package authz

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/selection"

	"nau/internal/apiserver/identity"
)

// Node lets a node agent, system:node:NAME in system:nodes, read what its own pods need and nothing else (Kubernetes docs, "Using Node
// Authorization").
//
// What it knows comes by watch, and a node may learn of its new pod a moment before we do: a request that would be refused waits
// for the next word about that node, at most Patience.
type Node struct {
	refs *References
	// Patience is how long a request about a pod that nobody has heard of yet may wait. Zero asks once.
	Patience time.Duration
}

// NewNode answers from refs.
func NewNode(refs *References) *Node { return &Node{refs: refs, Patience: 100 * time.Millisecond} }

// nodeRule is one row of what every node may do: verbs on a resource, decided by the row's own check or, without one, always.
type nodeRule struct {
	group, resource, subresource string
	verbs                        []string
	check                        func(n *Node, node string, a *Attributes) (verdict, string)
}

// verdict of a row. What is no because nothing relates the node to the object may become yes at the next word about the node.
type verdict int

const (
	no verdict = iota
	notYet
	yes
)

var (
	read       = []string{"get", "list", "watch"}
	getOnly    = []string{"get"}
	createOnly = []string{"create"}
	change     = []string{"update", "patch"}
	own        = []string{"get", "create", "update", "patch", "delete"}
)

var nodeRules = []nodeRule{
	{"", "secrets", "", read, reads(secretRef)},
	{"", "configmaps", "", read, reads(configMapRef)},
	{"", "persistentvolumeclaims", "", getOnly, reads(claimRef)},
	{"", "persistentvolumeclaims", "status", []string{"get", "update", "patch"}, reads(claimRef)},
	{"", "persistentvolumes", "", getOnly, (*Node).volume},
	{"", "serviceaccounts", "token", createOnly, reads(accountRef)},
	{"", "serviceaccounts", "", getOnly, reads(accountRef)},
	{"resource.k8s.io", "resourceclaims", "", getOnly, reads(resourceClaimRef)},
	{"storage.k8s.io", "volumeattachments", "", getOnly, (*Node).attachment},
	{"", "pods", "", getOnly, (*Node).pod},
	{"", "pods", "", []string{"list", "watch"}, selects("spec.nodeName")},
	{"", "nodes", "", getOnly, (*Node).itself},
	{"", "nodes", "", []string{"list", "watch"}, selects("metadata.name")},
	{"coordination.k8s.io", "leases", "", own, (*Node).lease},
	{"storage.k8s.io", "csinodes", "", own, (*Node).itselfOrNew},
	{"resource.k8s.io", "resourceslices", "", []string{"get", "create", "update", "patch", "delete"}, nil}, // NodeRestriction looks into the slice
	{"resource.k8s.io", "resourceslices", "", []string{"list", "watch", "deletecollection"}, selects("spec.nodeName")},

	// What NodeRestriction narrows down further.
	{"", "nodes", "", []string{"create", "update", "patch"}, nil},
	{"", "nodes", "status", change, nil},
	{"", "pods", "", []string{"create", "delete"}, nil},
	{"", "pods", "status", change, nil},
	{"", "pods", "eviction", createOnly, nil},

	{"", "services", "", read, nil},
	{"", "endpoints", "", getOnly, nil},
	{"", "events", "", []string{"create", "update", "patch"}, nil},
	{"events.k8s.io", "events", "", []string{"create", "update", "patch"}, nil},
	{"node.k8s.io", "runtimeclasses", "", read, nil},
	{"storage.k8s.io", "csidrivers", "", read, nil},
	{"certificates.k8s.io", "certificatesigningrequests", "", []string{"create", "get", "list", "watch"}, nil},
	{"authentication.k8s.io", "tokenreviews", "", createOnly, nil},
	{"authorization.k8s.io", "subjectaccessreviews", "", createOnly, nil},
	{"authorization.k8s.io", "localsubjectaccessreviews", "", createOnly, nil},
}

// Authorize implements Authorizer. It has no opinion about anybody but nodes, and leaves to RBAC what no row speaks about.
func (n *Node) Authorize(ctx context.Context, a Attributes) (Decision, string, error) {
	name, ok := a.User.NodeName()
	if !ok || !a.ResourceRequest {
		return NoOpinion, "", nil
	}
	why := ""
	for i := range nodeRules {
		r := &nodeRules[i]
		if r.resource != a.Resource || r.subresource != a.Subresource || r.group != a.APIGroup || !slices.Contains(r.verbs, a.Verb) {
			continue
		}
		if r.check == nil {
			return Allow, "", nil
		}
		var v verdict
		if v, why = n.await(ctx, name, r, &a); v == yes {
			return Allow, "", nil
		}
	}
	return NoOpinion, why, nil
}

func (n *Node) await(ctx context.Context, name string, r *nodeRule, a *Attributes) (verdict, string) {
	v, why := r.check(n, name, a)
	if v != notYet || n.Patience == 0 {
		return v, why
	}
	ctx, cancel := context.WithTimeout(ctx, n.Patience)
	defer cancel()
	for {
		news := n.refs.news(name)
		if v, why = r.check(n, name, a); v != notYet {
			return v, why
		}
		select {
		case <-ctx.Done():
			return v, why
		case <-news:
		}
	}
}

// RulesFor implements RuleResolver: what a node may do depends on its pods, so the list is never complete.
func (n *Node) RulesFor(_ context.Context, user *identity.User, _ string) (Rules, bool, error) {
	if _, ok := user.NodeName(); !ok {
		return Rules{}, false, nil
	}
	var policy []rbacv1.PolicyRule
	for _, r := range nodeRules {
		if r.check == nil {
			res := r.resource
			if r.subresource != "" {
				res += "/" + r.subresource
			}
			policy = append(policy, rbacv1.PolicyRule{Verbs: r.verbs, APIGroups: []string{r.group}, Resources: []string{res}})
		}
	}
	return toRules(policy), true, nil
}

func unrelated(node string) (verdict, string) {
	return notYet, fmt.Sprintf("no relationship found between node '%s' and this object", node)
}

// reads checks that a pod of the node refers to the named object.
func reads(kind refKind) func(*Node, string, *Attributes) (verdict, string) {
	return func(n *Node, node string, a *Attributes) (verdict, string) {
		name := nameOf(a)
		if name == "" || a.Namespace == "" {
			return no, "can only read an individual object of this type"
		}
		if n.refs.has(node, ref{kind, a.Namespace, name}) {
			return yes, ""
		}
		return unrelated(node)
	}
}

func (n *Node) volume(node string, a *Attributes) (verdict, string) {
	if a.Name != "" && n.refs.hasVolume(node, a.Name) {
		return yes, ""
	}
	return unrelated(node)
}

func (n *Node) attachment(node string, a *Attributes) (verdict, string) {
	if a.Name != "" && n.refs.hasAttachment(node, a.Name) {
		return yes, ""
	}
	return unrelated(node)
}

func (n *Node) pod(node string, a *Attributes) (verdict, string) {
	if n.refs.hasPod(node, a.Namespace, a.Name) {
		return yes, ""
	}
	return unrelated(node)
}

func (n *Node) itself(node string, a *Attributes) (verdict, string) {
	if a.Name == node {
		return yes, ""
	}
	return no, fmt.Sprintf("node '%s' cannot read '%s', only its own Node object", node, a.Name)
}

// itselfOrNew is for objects called after the node; the name of a new one is checked by NodeRestriction.
func (n *Node) itselfOrNew(node string, a *Attributes) (verdict, string) {
	if a.Name == node || (a.Verb == "create" && a.Name == "") {
		return yes, ""
	}
	return no, fmt.Sprintf("can only access %s with the same name as the requesting node", a.Resource)
}

func (n *Node) lease(node string, a *Attributes) (verdict, string) {
	if a.Namespace != corev1.NamespaceNodeLease {
		return no, fmt.Sprintf("can only access leases in the %q system namespace", corev1.NamespaceNodeLease)
	}
	return n.itselfOrNew(node, a)
}

// selects checks that a list asks for no more than the node's own objects.
func selects(path string) func(*Node, string, *Attributes) (verdict, string) {
	return func(_ *Node, node string, a *Attributes) (verdict, string) {
		if v, ok := required(a.FieldSelector, path); ok && v == node {
			return yes, ""
		}
		if path == "metadata.name" && a.Name == node {
			return yes, ""
		}
		return no, fmt.Sprintf("can only list/watch %s with a field selector %s=%s", a.Resource, path, node)
	}
}

// nameOf is the one object that a request is about, be it by path or by field selector.
func nameOf(a *Attributes) string {
	if a.Name != "" || a.Verb == "get" {
		return a.Name
	}
	name, _ := required(a.FieldSelector, "metadata.name")
	return name
}

// required is the one value that a selector demands of a field.
func required(s fields.Selector, path string) (string, bool) {
	if s == nil {
		return "", false
	}
	for _, r := range s.Requirements() {
		if r.Field == path && (r.Operator == selection.Equals || r.Operator == selection.DoubleEquals) {
			return r.Value, true
		}
	}
	return "", false
}
