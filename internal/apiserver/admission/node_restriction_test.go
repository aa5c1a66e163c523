package admission

import (
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"nau/internal/apiserver/authz"
	"nau/internal/apiserver/identity"
)

// TestNodeImpersonation is the other half of the tenancy promise for nodes: what n1 may write.
func TestNodeImpersonation(t *testing.T) {
	yes := true
	node := func(name string, labels map[string]string, taints ...string) *corev1.Node {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-" + name), Labels: labels}}
		for _, k := range taints {
			n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: k})
		}
		return n
	}
	pod := func(node string, change ...func(*corev1.Pod)) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "p-" + node, UID: types.UID("uid-p-" + node)}, Spec: corev1.PodSpec{NodeName: node, ServiceAccountName: "sa",
			Volumes: []corev1.Volume{{VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: "vault"}}}}}}}}}
		for _, f := range change {
			f(p)
		}
		return p
	}
	mirror := func(node string, change ...func(*corev1.Pod)) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{corev1.MirrorPodAnnotationKey: "x"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node, UID: types.UID("uid-" + node), Controller: &yes}}}, Spec: corev1.PodSpec{NodeName: node}}
		for _, f := range change {
			f(p)
		}
		return p
	}
	token := func(pod, uid string, audiences ...string) *authenticationv1.TokenRequest {
		return &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences,
			BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod, UID: types.UID(uid)}}}
	}
	slice := func(node string) *resourcev1.ResourceSlice {
		return &resourcev1.ResourceSlice{Spec: resourcev1.ResourceSliceSpec{NodeName: &node}}
	}
	lease := func(name string) *coordinationv1.Lease {
		return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name}}
	}
	label := func(kv ...string) map[string]string { return map[string]string{kv[0]: kv[1]} }
	w := newWorld(t, node("n1", nil), node("n2", nil), pod("n1"), pod("n2"))
	n := NewNodeRestriction(w.f, w.live, authz.Always(authz.NoOpinion))

	for _, tc := range []struct {
		name     string
		op       Operation
		res      string
		ns, obj  string
		is, was  runtime.Object
		refusal  string // part of the message, "" for allowed
		operator string // user, "" for n1
	}{
		{"its own node", Create, "nodes", "", "n1", node("n1", label("kubernetes.io/hostname", "n1"), "x"), nil, "", ""},
		{"its own node, name in the body", Create, "nodes", "", "", node("n2", nil), nil, "not allowed to modify node", ""},
		{"another node", Create, "nodes", "", "n2", node("n2", nil), nil, "not allowed to modify node", ""},
		{"another node's status", Update, "nodes/status", "", "n2", node("n2", nil), node("n2", nil), "not allowed to modify node", ""},
		{"its own status", Update, "nodes/status", "", "n1", node("n1", nil), node("n1", nil), "", ""},
		{"its own removal", Delete, "nodes", "", "n1", nil, node("n1", nil), "not allowed to delete", ""},
		{"a label that isolates", Update, "nodes", "", "n1", node("n1", label("node-restriction.kubernetes.io/tier", "1")), node("n1", nil), "not allowed to modify labels", ""},
		{"a label that isolates, at birth", Create, "nodes", "", "n1", node("n1", label("x.node-restriction.kubernetes.io/tier", "1")), nil, "not allowed to set the following labels", ""},
		{"a role", Update, "nodes", "", "n1", node("n1", label("node-role.kubernetes.io/control-plane", "")), node("n1", nil), "not allowed to modify labels", ""},
		{"removing a role", Update, "nodes", "", "n1", node("n1", nil), node("n1", label("node-role.kubernetes.io/x", "")), "not allowed to modify labels", ""},
		{"a zone", Update, "nodes", "", "n1", node("n1", label("topology.kubernetes.io/zone", "z")), node("n1", nil), "", ""},
		{"a label of its own", Update, "nodes", "", "n1", node("n1", label("example.com/x", "z")), node("n1", nil), "", ""},
		{"its taints", Update, "nodes", "", "n1", node("n1", nil), node("n1", nil, "dedicated"), "not allowed to modify taints", ""},

		{"a mirror pod", Create, "pods", "a", "m", mirror("n1"), nil, "", ""},
		{"a mirror pod elsewhere", Create, "pods", "a", "m", mirror("n2"), nil, "spec.nodeName set to itself", ""},
		{"a mirror pod owned by another", Create, "pods", "a", "m", mirror("n1", func(p *corev1.Pod) { p.OwnerReferences[0].Name = "n2" }), nil, "owner reference set to itself", ""},
		{"a mirror pod owned by an older self", Create, "pods", "a", "m", mirror("n1", func(p *corev1.Pod) { p.OwnerReferences[0].UID = "old" }), nil, "its own UID", ""},
		{"a real pod", Create, "pods", "a", "m", pod("n1"), nil, "can only create mirror pods", ""},
		{"a mirror pod with an account", Create, "pods", "a", "m", mirror("n1", func(p *corev1.Pod) { p.Spec.ServiceAccountName = "sa" }), nil, "reference a service account", ""},
		{"a mirror pod with a secret", Create, "pods", "a", "m", mirror("n1", func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{}}}}
		}), nil, "reference secrets", ""},
		{"a mirror pod with a claim", Create, "pods", "a", "m", mirror("n1", func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{}}}}
		}), nil, "reference persistentvolumeclaims", ""},
		{"its pod's removal", Delete, "pods", "a", "p-n1", nil, pod("n1"), "", ""},
		{"another's pod's removal", Delete, "pods", "a", "p-n2", nil, pod("n2"), "spec.nodeName set to itself", ""},
		{"its pod's status", Update, "pods/status", "a", "p-n1", pod("n1"), pod("n1"), "", ""},
		{"its pod's labels by status", Update, "pods/status", "a", "p-n1", pod("n1", func(p *corev1.Pod) { p.Labels = label("app", "bank") }), pod("n1"), "cannot update labels", ""},
		{"another's pod's status", Update, "pods/status", "a", "p-n2", pod("n2"), pod("n2"), "spec.nodeName set to itself", ""},
		{"a pod's spec", Update, "pods", "a", "p-n1", pod("n1"), pod("n1"), "can only create and delete mirror pods", ""},
		{"a binding", Create, "pods/binding", "a", "p-n2", &corev1.Binding{}, nil, "unexpected pod subresource", ""},
		{"eviction of its pod", Create, "pods/eviction", "a", "p-n1", &policyv1.Eviction{}, nil, "", ""},
		{"eviction of another's, named in the body", Create, "pods/eviction", "a", "p-n1", &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "p-n2"}}, nil, "can only evict", ""},

		{"its pod's token", Create, "serviceaccounts/token", "a", "sa", token("p-n1", "uid-p-n1"), nil, "", ""},
		{"its pod's token for its audience", Create, "serviceaccounts/token", "a", "sa", token("p-n1", "uid-p-n1", "vault"), nil, "", ""},
		{"its pod's token for another audience", Create, "serviceaccounts/token", "a", "sa", token("p-n1", "uid-p-n1", "bank"), nil, "not found in pod spec", ""},
		{"another's pod's token", Create, "serviceaccounts/token", "a", "sa", token("p-n2", "uid-p-n2"), nil, "different node", ""},
		{"a token of a pod of another time", Create, "serviceaccounts/token", "a", "sa", token("p-n1", "old"), nil, "does not match the UID", ""},
		{"a token without uid", Create, "serviceaccounts/token", "a", "sa", token("p-n1", ""), nil, "without a uid", ""},
		{"a token for nothing", Create, "serviceaccounts/token", "a", "sa", &authenticationv1.TokenRequest{}, nil, "not bound to a pod", ""},

		{"its lease", Create, "coordination.k8s.io:leases", "kube-node-lease", "n1", lease("n1"), nil, "", ""},
		{"another's lease", Create, "coordination.k8s.io:leases", "kube-node-lease", "", lease("n2"), nil, "same name", ""},
		{"a lease elsewhere", Update, "coordination.k8s.io:leases", "kube-system", "n1", lease("n1"), lease("n1"), "system namespace", ""},
		{"its slice", Create, "resource.k8s.io:resourceslices", "", "s", slice("n1"), nil, "", ""},
		{"another's slice", Delete, "resource.k8s.io:resourceslices", "", "s", nil, slice("n2"), "same NodeName", ""},
		{"a claim", Update, "persistentvolumeclaims", "a", "c", &corev1.PersistentVolumeClaim{}, &corev1.PersistentVolumeClaim{}, "only 'status'", ""},

		{"a node without a name", Update, "nodes/status", "", "n1", node("n1", nil), node("n1", nil), "determine node of user", "n1"},
	} {
		r := request(tc.op, tc.res, tc.ns, tc.obj, tc.is, tc.was)
		r.User = &identity.User{Name: "system:node:n1", Groups: []string{identity.Nodes}}
		if tc.operator != "" {
			r.User.Name = tc.operator
		}
		err := n.Admit(t.Context(), r)
		if (tc.refusal == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), tc.refusal)) {
			t.Errorf("%s: %v", tc.name, err)
		}
		r.User = &identity.User{Name: "alice"}
		if err := n.Admit(t.Context(), r); err != nil {
			t.Errorf("%s by a person: %v", tc.name, err)
		}
	}
}
