package authz

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"

	"nau/internal/apiserver/identity"
)

func pod(namespace, name, node string, change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: named(namespace, name), Spec: corev1.PodSpec{NodeName: node, ServiceAccountName: "default"}}
	p.UID = types.UID(namespace + "-" + name)
	if change != nil {
		change(p)
	}
	return p
}

func nodes() (*Node, *References) {
	refs := NewReferences()
	str := func(s string) *string { return &s }
	for _, obj := range []any{
		pod("a", "web", "n1", func(p *corev1.Pod) {
			p.Spec.ServiceAccountName = "web"
			p.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "pull"}}
			p.Spec.InitContainers = []corev1.Container{{Env: []corev1.EnvVar{{ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "init-env"}}}}}}}
			p.Spec.Containers = []corev1.Container{{EnvFrom: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "env-from"}}}}}}
			p.Spec.Volumes = []corev1.Volume{
				{Name: "s", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "vol"}}},
				{Name: "p", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "projected"}}}}}}},
				{Name: "c", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}},
				{Name: "scratch", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}},
			}
			p.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "gpu", ResourceClaimName: str("gpu-1")}}
		}),
		pod("a", "db", "n2", func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "db"}}}}
		}),
		pod("kube-system", "mirror", "n1", func(p *corev1.Pod) {
			p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"}
			p.Spec.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "root"}}}}
		}),
		pod("a", "waiting", "", func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "waiting"}}}}
		}),
		&corev1.PersistentVolume{ObjectMeta: named("", "pv-1"), Spec: corev1.PersistentVolumeSpec{ClaimRef: &corev1.ObjectReference{Namespace: "a", Name: "data"},
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{NodeStageSecretRef: &corev1.SecretReference{Namespace: "storage", Name: "stage"}}}}},
		&corev1.PersistentVolume{ObjectMeta: named("", "pv-2"), Spec: corev1.PersistentVolumeSpec{ClaimRef: &corev1.ObjectReference{Namespace: "b", Name: "data"}}},
		&storagev1.VolumeAttachment{ObjectMeta: named("", "va-1"), Spec: storagev1.VolumeAttachmentSpec{NodeName: "n1"}},
		&storagev1.VolumeAttachment{ObjectMeta: named("", "va-2"), Spec: storagev1.VolumeAttachmentSpec{NodeName: "n2"}},
	} {
		refs.Set(obj)
	}
	n := NewNode(refs)
	n.Patience = 0
	return n, refs
}

func agent(name string) *identity.User {
	return user(identity.NodePrefix+name, identity.Nodes)
}

// TestNodeMatrix is the tenancy promise for nodes: what n1 may do, and that it may do nothing for pods of others.
func TestNodeMatrix(t *testing.T) {
	n, _ := nodes()
	for _, tc := range []struct {
		ask   string
		where string // field selector
		want  Decision
	}{
		{"get core/secrets a pull", "", Allow},
		{"get core/secrets a init-env", "", Allow},
		{"get core/secrets a vol", "", Allow},
		{"get core/secrets a projected", "", Allow},
		{"get core/secrets storage stage", "", Allow}, // of a volume whose claim the pod uses
		{"get core/secrets a db", "", NoOpinion},      // of a pod on another node
		{"get core/secrets a waiting", "", NoOpinion}, // of a pod on no node
		{"get core/secrets kube-system root", "", NoOpinion},
		{"get core/secrets b vol", "", NoOpinion},
		{"list core/secrets a", "", NoOpinion},
		{"list core/secrets", "", NoOpinion},
		{"watch core/secrets a", "metadata.name=vol", Allow},
		{"list core/secrets a vol", "", Allow}, // the request's selector already read by the server
		{"watch core/secrets a", "metadata.name!=vol", NoOpinion},
		{"watch core/secrets a", "metadata.name=db", NoOpinion},
		{"update core/secrets a vol", "", NoOpinion},
		{"delete core/secrets a vol", "", NoOpinion},
		{"get core/configmaps a env-from", "", Allow},
		{"get core/configmaps a vol", "", NoOpinion},
		{"get core/persistentvolumeclaims a data", "", Allow},
		{"get core/persistentvolumeclaims a web-scratch", "", Allow},
		{"patch core/persistentvolumeclaims/status a data", "", Allow},
		{"patch core/persistentvolumeclaims a data", "", NoOpinion},
		{"get core/persistentvolumes - pv-1", "", Allow},
		{"get core/persistentvolumes - pv-2", "", NoOpinion},
		{"list core/persistentvolumes", "", NoOpinion},
		{"get storage.k8s.io/volumeattachments - va-1", "", Allow},
		{"get storage.k8s.io/volumeattachments - va-2", "", NoOpinion},
		{"get resource.k8s.io/resourceclaims a gpu-1", "", Allow},
		{"create core/serviceaccounts/token a web", "", Allow},
		{"create core/serviceaccounts/token a default", "", NoOpinion}, // db on n2 runs as default
		{"create core/serviceaccounts/token kube-system default", "", NoOpinion},
		{"get core/serviceaccounts a web", "", Allow},
		{"list core/serviceaccounts a", "", NoOpinion},

		{"get core/pods a web", "", Allow},
		{"get core/pods a db", "", NoOpinion},
		{"list core/pods", "spec.nodeName=n1", Allow},
		{"watch core/pods", "spec.nodeName=n2", NoOpinion},
		{"list core/pods", "", NoOpinion},
		{"create core/pods kube-system", "", Allow}, // mirror pods; NodeRestriction looks inside
		{"patch core/pods/status a web", "", Allow},
		{"patch core/pods a web", "", NoOpinion},
		{"create core/pods/exec a web", "", NoOpinion},
		{"create core/pods/binding a web", "", NoOpinion},

		{"get core/nodes - n1", "", Allow},
		{"get core/nodes - n2", "", NoOpinion},
		{"watch core/nodes", "metadata.name=n1", Allow},
		{"list core/nodes", "", NoOpinion},
		{"delete core/nodes - n1", "", NoOpinion},
		{"patch core/nodes/status - n1", "", Allow},

		{"update coordination.k8s.io/leases kube-node-lease n1", "", Allow},
		{"create coordination.k8s.io/leases kube-node-lease", "", Allow},
		{"update coordination.k8s.io/leases kube-node-lease n2", "", NoOpinion},
		{"get coordination.k8s.io/leases kube-system n1", "", NoOpinion},
		{"list coordination.k8s.io/leases kube-node-lease", "", NoOpinion},
		{"get storage.k8s.io/csinodes - n1", "", Allow},
		{"get storage.k8s.io/csinodes - n2", "", NoOpinion},
		{"deletecollection resource.k8s.io/resourceslices", "spec.nodeName=n1", Allow},
		{"deletecollection resource.k8s.io/resourceslices", "", NoOpinion},

		{"list core/services", "", Allow},
		{"watch node.k8s.io/runtimeclasses", "", Allow},
		{"create authentication.k8s.io/tokenreviews", "", Allow},
		{"create core/events a", "", Allow},
		{"list core/events a", "", NoOpinion},
		{"create rbac.authorization.k8s.io/clusterrolebindings", "", NoOpinion},
		{"impersonate core/users - x", "", NoOpinion},
		{"get /metrics", "", NoOpinion},
	} {
		a := ask(agent("n1"), tc.ask)
		if tc.where != "" {
			a.FieldSelector = fields.ParseSelectorOrDie(tc.where)
		}
		if d, why, err := n.Authorize(t.Context(), a); d != tc.want || err != nil {
			t.Errorf("%s %s = %v (%s %v), want %v", tc.ask, tc.where, d, why, err, tc.want)
		}
	}
	for _, u := range []*identity.User{user("system:node:n1"), user("n1", identity.Nodes), user("system:node:", identity.Nodes), user("alice")} {
		if d, _, _ := n.Authorize(t.Context(), ask(u, "get core/secrets a vol")); d != NoOpinion {
			t.Errorf("%s in %v is taken for a node", u.Name, u.Groups)
		}
	}
}

func TestReferencesFollowPods(t *testing.T) {
	n, refs := nodes()
	may := func(node, q string, want Decision, why string) {
		t.Helper()
		if d, _, _ := n.Authorize(context.Background(), ask(agent(node), q)); d != want {
			t.Errorf("%s: %v, want %v", why, d, want)
		}
	}
	web := pod("a", "web2", "n1", func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "vol"}}}}
	})
	refs.Set(web)
	refs.Remove(&corev1.Pod{ObjectMeta: named("a", "web")})
	may("n1", "get core/secrets a vol", Allow, "another pod still uses it")
	refs.Remove(web)
	may("n1", "get core/secrets a vol", NoOpinion, "nobody uses it")
	waiting := pod("a", "waiting", "n1", func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "waiting"}}}}
	})
	refs.Set(waiting)
	may("n1", "get core/secrets a waiting", Allow, "bound now")
	replaced := pod("a", "waiting", "n2", nil)
	replaced.UID = "another"
	refs.Set(replaced)
	may("n1", "get core/secrets a waiting", NoOpinion, "replaced by a pod of the same name elsewhere")
	refs.Remove(&corev1.PersistentVolume{ObjectMeta: named("", "pv-1")})
	may("n1", "get core/secrets storage stage", NoOpinion, "volume gone")
	for _, name := range []string{"waiting", "db"} {
		refs.Remove(&corev1.Pod{ObjectMeta: named("a", name)})
	}
	refs.Remove(&corev1.Pod{ObjectMeta: named("kube-system", "mirror")})
	if len(refs.nodes)+len(refs.pods)+len(refs.bySecret) != 0 {
		t.Errorf("left over: %d nodes, %d pods, %d secrets", len(refs.nodes), len(refs.pods), len(refs.bySecret))
	}
}

func TestNodeWaitsForNewsOfItsPod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, refs := nodes()
		n.Patience = time.Second
		late := pod("a", "late", "n1", func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "late"}}}}
		})
		go func() {
			time.Sleep(5 * time.Millisecond)
			refs.Set(pod("a", "else", "n1", nil))
			time.Sleep(5 * time.Millisecond)
			refs.Set(late)
		}()
		begin := time.Now()
		if d, why, _ := n.Authorize(t.Context(), ask(agent("n1"), "get core/secrets a late")); d != Allow || time.Since(begin) != 10*time.Millisecond {
			t.Errorf("%v %s after %v", d, why, time.Since(begin))
		}
		begin = time.Now()
		if d, _, _ := n.Authorize(t.Context(), ask(agent("n1"), "get core/secrets a never")); d != NoOpinion || time.Since(begin) != time.Second {
			t.Errorf("%v after %v", d, time.Since(begin))
		}
		begin = time.Now()
		if d, _, _ := n.Authorize(t.Context(), ask(agent("n1"), "get core/nodes - n2")); d != NoOpinion || time.Since(begin) != 0 {
			t.Errorf("waited %v for what cannot change", time.Since(begin))
		}
	})
}
