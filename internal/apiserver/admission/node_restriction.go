package admission

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"

	"nau/internal/apiserver/authz"
	"nau/internal/apiserver/identity"
)

// NodeRestriction narrows what the node authorizer lets node agents write to their own Node, their own pods and what belongs to those
// (Kubernetes docs, "NodeRestriction"): a node that was taken over cannot speak for another or draw workloads to itself.
type NodeRestriction struct {
	Operations
	pods       corelisters.PodLister
	nodes      corelisters.NodeLister
	drivers    storagelisters.CSIDriverLister
	live       kubernetes.Interface
	authorizer authz.Authorizer
}

// NewNodeRestriction makes the plugin.
func NewNodeRestriction(f informers.SharedInformerFactory, live kubernetes.Interface, z authz.Authorizer) *NodeRestriction {
	return &NodeRestriction{Operations{Create, Update, Delete}, f.Core().V1().Pods().Lister(), f.Core().V1().Nodes().Lister(),
		f.Storage().V1().CSIDrivers().Lister(), live, z}
}

// Name implements Plugin.
func (*NodeRestriction) Name() string { return "NodeRestriction" }

// Admit implements Mutator. It changes nothing; standing among the mutators it spares others the work, and webhooks after it cannot
// be blamed on a node.
func (n *NodeRestriction) Admit(ctx context.Context, r *Request) error { return n.Validate(ctx, r) }

// Validate implements Validator.
func (n *NodeRestriction) Validate(ctx context.Context, r *Request) error {
	if !r.User.In(identity.Nodes) {
		return nil
	}
	node, ok := r.User.NodeName()
	if !ok {
		return forbidden(r, fmt.Errorf("determine node of user %q: nodes are called system:node:NAME", r.User.Name))
	}
	switch r.Resource.Group + "/" + r.Resource.Resource {
	case "/pods":
		return n.pod(ctx, r, node)
	case "/nodes":
		return n.node(r, node)
	case "/persistentvolumeclaims":
		return n.claim(r, node)
	case "/serviceaccounts":
		if r.Subresource == "token" && r.Operation == Create {
			return n.token(ctx, r, node)
		}
	case "coordination.k8s.io/leases":
		return n.lease(r, node)
	case "storage.k8s.io/csinodes":
		return ownName[*storagev1.CSINode](r, node, "csinode")
	case "resource.k8s.io/resourceslices":
		return n.slice(r, node)
	case "certificates.k8s.io/certificatesigningrequests":
		return n.request(r, node)
	}
	return nil
}

func (n *NodeRestriction) pod(ctx context.Context, r *Request, node string) error {
	switch r.Subresource {
	case "":
		switch r.Operation {
		case Create:
			return n.mirror(r, node)
		case Delete:
			pod, _ := r.OldObject.(*corev1.Pod)
			if pod == nil {
				return forbidden(r, fmt.Errorf("node %q can only delete pods one by one", node))
			}
			if pod.Spec.NodeName != node {
				return forbidden(r, fmt.Errorf("node %q can only delete pods with spec.nodeName set to itself", node))
			}
			return nil
		}
		return forbidden(r, fmt.Errorf("unexpected operation %q, node %q can only create and delete mirror pods", r.Operation, node))
	case "status":
		return n.podStatus(r, node)
	case "eviction":
		return n.eviction(ctx, r, node)
	}
	return forbidden(r, fmt.Errorf("unexpected pod subresource %q, only 'status' and 'eviction' are allowed", r.Subresource))
}

// mirror: the pods that a node may create stand for its own files, and must not refer to anything.
func (n *NodeRestriction) mirror(r *Request, node string) error {
	pod, ok := r.Object.(*corev1.Pod)
	if !ok {
		return forbidden(r, fmt.Errorf("unexpected type %T", r.Object))
	}
	if !isMirror(pod) {
		return forbidden(r, fmt.Errorf("pod does not have %q annotation, node %q can only create mirror pods", corev1.MirrorPodAnnotationKey, node))
	}
	if pod.Spec.NodeName != node {
		return forbidden(r, fmt.Errorf("node %q can only create pods with spec.nodeName set to itself", node))
	}
	if len(pod.OwnerReferences) > 1 {
		return forbidden(r, fmt.Errorf("node %q can only create pods with a single owner reference set to itself", node))
	}
	if len(pod.OwnerReferences) == 1 {
		o := pod.OwnerReferences[0]
		if o.APIVersion != "v1" || o.Kind != "Node" || o.Name != node {
			return forbidden(r, fmt.Errorf("node %q can only create pods with an owner reference set to itself", node))
		}
		if o.Controller == nil || !*o.Controller {
			return forbidden(r, fmt.Errorf("node %q can only create pods with a controller owner reference set to itself", node))
		}
		if o.BlockOwnerDeletion != nil && *o.BlockOwnerDeletion {
			return forbidden(r, fmt.Errorf("node %q must not set blockOwnerDeletion on an owner reference", node))
		}
		if own, err := n.nodes.Get(node); err != nil || own.UID != o.UID {
			return forbidden(r, fmt.Errorf("node %q can only create pods whose owner reference has its own UID", node))
		}
	}
	if pod.Spec.ServiceAccountName != "" {
		return forbidden(r, fmt.Errorf("node %q can not create pods that reference a service account", node))
	}
	for kind := range referenced(pod) {
		return forbidden(r, fmt.Errorf("node %q can not create pods that reference %s", node, kind))
	}
	return nil
}

func (n *NodeRestriction) podStatus(r *Request, node string) error {
	if r.Operation != Update {
		return forbidden(r, fmt.Errorf("unexpected operation %q", r.Operation))
	}
	pod, _ := r.Object.(*corev1.Pod)
	old, _ := r.OldObject.(*corev1.Pod)
	if pod == nil || old == nil {
		return forbidden(r, fmt.Errorf("unexpected type %T", r.Object))
	}
	if old.Spec.NodeName != node {
		return forbidden(r, fmt.Errorf("node %q can only update pod status for pods with spec.nodeName set to itself", node))
	}
	if !equality.Semantic.DeepEqual(old.Labels, pod.Labels) {
		return forbidden(r, fmt.Errorf("node %q cannot update labels through pod status", node))
	}
	if !equality.Semantic.DeepEqual(old.Status.ResourceClaimStatuses, pod.Status.ResourceClaimStatuses) {
		return forbidden(r, fmt.Errorf("node %q cannot update resource claim statuses", node))
	}
	return nil
}

func (n *NodeRestriction) eviction(ctx context.Context, r *Request, node string) error {
	e, ok := r.Object.(*policyv1.Eviction)
	if !ok || r.Operation != Create {
		return forbidden(r, fmt.Errorf("unexpected type %T", r.Object))
	}
	name := r.Name
	if e.Name != "" {
		name = e.Name
	}
	pod, err := n.findPod(ctx, r.Namespace, name, "")
	if err != nil {
		return err
	}
	if pod.Spec.NodeName != node {
		return forbidden(r, fmt.Errorf("node %s can only evict pods with spec.nodeName set to itself", node))
	}
	return nil
}

// findPod asks the lister, and the server itself if the lister does not know a pod with that uid.
func (n *NodeRestriction) findPod(ctx context.Context, namespace, name string, uid types.UID) (*corev1.Pod, error) {
	if p, err := n.pods.Pods(namespace).Get(name); err == nil && p.Spec.NodeName != "" && (uid == "" || p.UID == uid) {
		return p, nil
	}
	return n.live.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
}

func (n *NodeRestriction) node(r *Request, node string) error {
	if r.Name != node && (r.Name != "" || r.Operation != Create) {
		return forbidden(r, fmt.Errorf("node %q is not allowed to modify node %q", node, r.Name))
	}
	if r.Operation == Delete {
		return forbidden(r, fmt.Errorf("node %q is not allowed to delete itself", node))
	}
	is, ok := r.Object.(*corev1.Node)
	if !ok {
		return forbidden(r, fmt.Errorf("unexpected type %T", r.Object))
	}
	if is.Name != node {
		return forbidden(r, fmt.Errorf("node %q is not allowed to modify node %q", node, is.Name))
	}
	was, _ := r.OldObject.(*corev1.Node)
	if was == nil {
		was = &corev1.Node{}
	}
	if bad := forbiddenLabels(was.Labels, is.Labels); len(bad) > 0 {
		if r.Operation == Create {
			return forbidden(r, fmt.Errorf("node %q is not allowed to set the following labels: %s", node, strings.Join(bad, ", ")))
		}
		return forbidden(r, fmt.Errorf("is not allowed to modify labels: %s", strings.Join(bad, ", ")))
	}
	if r.Operation != Update {
		return nil
	}
	if !equality.Semantic.DeepEqual(was.Spec.Taints, is.Spec.Taints) {
		return forbidden(r, fmt.Errorf("node %q is not allowed to modify taints", node))
	}
	if !equality.Semantic.DeepEqual(was.OwnerReferences, is.OwnerReferences) {
		return forbidden(r, fmt.Errorf("node %q is not allowed to modify ownerReferences", node))
	}
	return nil
}

// nodeLabels are the labels under kubernetes.io and k8s.io that a node may set on itself.
var nodeLabels = sets.New(corev1.LabelHostname, corev1.LabelTopologyZone, corev1.LabelTopologyRegion, corev1.LabelFailureDomainBetaZone,
	corev1.LabelFailureDomainBetaRegion, corev1.LabelInstanceType, corev1.LabelInstanceTypeStable, corev1.LabelOSStable, corev1.LabelArchStable,
	"beta.kubernetes.io/os", "beta.kubernetes.io/arch")

func forbiddenLabels(was, is map[string]string) []string {
	bad := sets.New[string]()
	check := func(key string) {
		domain, _, ok := strings.Cut(key, "/")
		if !ok || nodeLabels.Has(key) {
			return
		}
		in := func(d string) bool { return domain == d || strings.HasSuffix(domain, "."+d) }
		switch {
		case in("node-restriction.kubernetes.io"):
			bad.Insert(key)
		case in("kubelet.kubernetes.io"), in("node.kubernetes.io"):
		case in("kubernetes.io"), in("k8s.io"):
			bad.Insert(key)
		}
	}
	for k, v := range is {
		if old, ok := was[k]; !ok || old != v {
			check(k)
		}
	}
	for k := range was {
		if _, ok := is[k]; !ok {
			check(k)
		}
	}
	return sets.List(bad)
}

// claim: a node may report how far the growth of a volume has come.
func (n *NodeRestriction) claim(r *Request, node string) error {
	is, _ := r.Object.(*corev1.PersistentVolumeClaim)
	was, _ := r.OldObject.(*corev1.PersistentVolumeClaim)
	if r.Subresource != "status" || r.Operation != Update || is == nil || was == nil {
		return forbidden(r, fmt.Errorf("unexpected pvc subresource %q, only 'status' is allowed", r.Subresource))
	}
	a, b := was.DeepCopy(), is.DeepCopy()
	for _, c := range []*corev1.PersistentVolumeClaim{a, b} {
		c.Status.Capacity, c.Status.Conditions, c.Status.AllocatedResources, c.Status.AllocatedResourceStatuses = nil, nil, nil, nil
		c.ManagedFields, c.ResourceVersion = nil, ""
	}
	if !equality.Semantic.DeepEqual(a, b) {
		return forbidden(r, fmt.Errorf("node %q is not allowed to update fields other than status.quantity and status.conditions", node))
	}
	return nil
}

func (n *NodeRestriction) lease(r *Request, node string) error {
	if r.Namespace != corev1.NamespaceNodeLease {
		return forbidden(r, fmt.Errorf("can only access leases in the %q system namespace", corev1.NamespaceNodeLease))
	}
	return ownName[*coordinationv1.Lease](r, node, "lease")
}

// ownName is for objects that are called after their node.
func ownName[T metav1.Object](r *Request, node, kind string) error {
	name := r.Name
	if o, ok := r.Object.(T); ok && r.Operation == Create {
		name = o.GetName()
	}
	if name != node {
		return forbidden(r, fmt.Errorf("can only access %s with the same name as the requesting node", kind))
	}
	return nil
}

// slice: a node publishes its own devices.
func (n *NodeRestriction) slice(r *Request, node string) error {
	obj := r.Object
	if r.Operation == Delete {
		obj = r.OldObject
	}
	if obj == nil { // of a collection: the authorizer has seen the field selector
		return nil
	}
	if sliceNode(obj) != node {
		return forbidden(r, fmt.Errorf("can only %s ResourceSlice with the same NodeName as the requesting node", strings.ToLower(string(r.Operation))))
	}
	return nil
}

// request: a node may ask for its own certificates only.
func (n *NodeRestriction) request(r *Request, node string) error {
	csr, ok := r.Object.(*certificatesv1.CertificateSigningRequest)
	if !ok || r.Operation != Create || r.Subresource != "" ||
		(csr.Spec.SignerName != certificatesv1.KubeAPIServerClientKubeletSignerName && csr.Spec.SignerName != certificatesv1.KubeletServingSignerName) {
		return nil
	}
	block, _ := pem.Decode(csr.Spec.Request)
	if block == nil {
		return forbidden(r, errors.New("parse signing request: it is not PEM"))
	}
	parsed, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return forbidden(r, fmt.Errorf("parse signing request: %w", err))
	}
	if parsed.Subject.CommonName != identity.NodePrefix+node {
		return forbidden(r, fmt.Errorf("can only create a node CSR with CN=%s", identity.NodePrefix+node))
	}
	return nil
}
