package admission

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	testclock "k8s.io/utils/clock/testing"

	"nau/internal/apiserver/authz"
	"nau/internal/apiserver/identity"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// world is a cluster whose informers know the first objects and whose server knows all.
type world struct {
	t     testing.TB
	f     informers.SharedInformerFactory
	live  *fake.Clientset
	clock *testclock.FakePassiveClock
}

func newWorld(t testing.TB, known ...runtime.Object) *world {
	live := fake.NewClientset(known...)
	w := &world{t, informers.NewSharedInformerFactory(live, 0), live, testclock.NewFakePassiveClock(epoch)}
	for _, o := range known {
		w.learn(o)
	}
	return w
}

func (w *world) learn(o runtime.Object) {
	c := w.f.Core().V1()
	switch o.(type) {
	case *corev1.Namespace:
		c.Namespaces().Informer().GetIndexer().Add(o)
	case *corev1.ServiceAccount:
		c.ServiceAccounts().Informer().GetIndexer().Add(o)
	case *corev1.Pod:
		c.Pods().Informer().GetIndexer().Add(o)
	case *corev1.Node:
		c.Nodes().Informer().GetIndexer().Add(o)
	case *corev1.LimitRange:
		c.LimitRanges().Informer().GetIndexer().Add(o)
	case *schedulingv1.PriorityClass:
		w.f.Scheduling().V1().PriorityClasses().Informer().GetIndexer().Add(o)
	case *storagev1.StorageClass:
		w.f.Storage().V1().StorageClasses().Informer().GetIndexer().Add(o)
	case *networkingv1.IngressClass:
		w.f.Networking().V1().IngressClasses().Informer().GetIndexer().Add(o)
	case *nodev1.RuntimeClass:
		w.f.Node().V1().RuntimeClasses().Informer().GetIndexer().Add(o)
	default:
		w.t.Fatalf("learn %T", o)
	}
}

func (w *world) chain(z authz.Authorizer) Chain {
	c, err := Default(Config{Informers: w.f, Live: w.live, Authorizer: z, Clock: w.clock, ProtectStorage: true})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, p := range c {
		if s, ok := p.(*ServiceAccount); ok {
			s.Patience, s.Suffix = 0, func() string { return "abcde" }
		}
	}
	return c
}

func named(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name}
}

func namespace(name string, phase corev1.NamespacePhase, labels ...string) *corev1.Namespace {
	ns := &corev1.Namespace{ObjectMeta: named("", name), Status: corev1.NamespaceStatus{Phase: phase}}
	for i := 0; i+1 < len(labels); i += 2 {
		if ns.Labels == nil {
			ns.Labels = map[string]string{}
		}
		ns.Labels[labels[i]] = labels[i+1]
	}
	return ns
}

func request(op Operation, resource, ns, name string, obj, old runtime.Object) *Request {
	r := &Request{Operation: op, Namespace: ns, Name: name, Object: obj, OldObject: old, User: &identity.User{Name: "alice"}}
	group, rest, ok := strings.Cut(resource, ":")
	if !ok {
		group, rest = "", resource
	}
	r.Resource.Group, r.Resource.Version = group, "v1"
	r.Resource.Resource, r.Subresource, _ = strings.Cut(rest, "/")
	return r
}

// run takes a request through both halves of the chain.
func run(ctx context.Context, c Chain, r *Request) error {
	if err := c.Admit(ctx, r); err != nil {
		return err
	}
	return c.Validate(ctx, r)
}

func TestNamespaceLifecycle(t *testing.T) {
	w := newWorld(t, namespace("a", corev1.NamespaceActive), namespace("going", corev1.NamespaceTerminating))
	if _, err := w.live.CoreV1().Namespaces().Create(t.Context(), namespace("new", corev1.NamespaceActive), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	n := NewNamespaceLifecycle(w.f, w.live, w.clock)
	for _, tc := range []struct {
		name string
		r    *Request
		is   func(error) bool
	}{
		{"create in one that is there", request(Create, "configmaps", "a", "c", nil, nil), nil},
		{"create in one that the informer has not seen", request(Create, "configmaps", "new", "c", nil, nil), nil},
		{"create in none", request(Create, "configmaps", "none", "c", nil, nil), apierrors.IsNotFound},
		{"update in none", request(Update, "configmaps", "none", "c", nil, nil), apierrors.IsNotFound},
		{"delete in none", request(Delete, "configmaps", "none", "c", nil, nil), nil},
		{"create in one that is going", request(Create, "configmaps", "going", "c", nil, nil), apierrors.IsForbidden},
		{"update in one that is going", request(Update, "configmaps", "going", "c", nil, nil), nil},
		{"create without a namespace", request(Create, "nodes", "", "n", nil, nil), nil},
		{"delete default", request(Delete, "namespaces", "", "default", nil, nil), apierrors.IsForbidden},
		{"delete kube-system", request(Delete, "namespaces", "kube-system", "kube-system", nil, nil), apierrors.IsForbidden},
		{"delete a", request(Delete, "namespaces", "", "a", nil, nil), nil},
		{"ask about one that is not there", request(Create, "authorization.k8s.io:localsubjectaccessreviews", "none", "", nil, nil), nil},
	} {
		err := n.Admit(t.Context(), tc.r)
		if (tc.is == nil && err != nil) || (tc.is != nil && !tc.is(err)) {
			t.Errorf("%s: %v", tc.name, err)
		}
		if strings.HasSuffix(tc.name, "create in one that is going") && !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			t.Errorf("%s: no cause in %v", tc.name, err)
		}
	}
	// a's deletion was asked for just now: the informer still calls it active, the server does not.
	if err := w.live.CoreV1().Namespaces().Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := n.Admit(t.Context(), request(Create, "configmaps", "a", "c", nil, nil)); !apierrors.IsNotFound(err) {
		t.Errorf("a stale informer was believed: %v", err)
	}
	w.clock.SetTime(epoch.Add(time.Minute))
	if err := n.Admit(t.Context(), request(Create, "configmaps", "a", "c", nil, nil)); err != nil {
		t.Errorf("asked live for ever: %v", err)
	}
}

func TestPodsGetWhatTheyNeed(t *testing.T) {
	no := false
	w := newWorld(t, namespace("a", corev1.NamespaceActive),
		&corev1.ServiceAccount{ObjectMeta: named("a", "default"), ImagePullSecrets: []corev1.LocalObjectReference{{Name: "pull"}}},
		&corev1.ServiceAccount{ObjectMeta: named("a", "mute"), AutomountServiceAccountToken: &no})
	c := w.chain(authz.Always(authz.NoOpinion))
	pod := &corev1.Pod{ObjectMeta: named("a", "p"), Spec: corev1.PodSpec{
		InitContainers: []corev1.Container{{Name: "i"}},
		Containers:     []corev1.Container{{Name: "c"}, {Name: "own", VolumeMounts: []corev1.VolumeMount{{Name: "x", MountPath: tokenMountPath}}}}}}
	if err := run(t.Context(), c, request(Create, "pods", "a", "p", pod, nil)); err != nil {
		t.Fatal(err)
	}
	s := pod.Spec
	if s.ServiceAccountName != "default" || s.DeprecatedServiceAccount != "default" || len(s.ImagePullSecrets) != 1 || *s.Priority != 0 || *s.PreemptionPolicy != corev1.PreemptLowerPriority {
		t.Errorf("%+v", s)
	}
	if len(s.Tolerations) != 2 || s.Tolerations[0].Key != corev1.TaintNodeNotReady || *s.Tolerations[1].TolerationSeconds != 300 {
		t.Errorf("tolerations %+v", s.Tolerations)
	}
	if len(s.InitContainers[0].VolumeMounts) != 1 || len(s.Containers[0].VolumeMounts) != 1 || s.Containers[1].VolumeMounts[0].Name != "x" || len(s.Containers[1].VolumeMounts) != 1 {
		t.Errorf("mounts %+v", s.Containers)
	}
	got, _ := json.Marshal(s.Volumes)
	if want := `[{"name":"kube-api-access-abcde","projected":{"sources":[{"serviceAccountToken":{"expirationSeconds":3607,"path":"token"}},` +
		`{"configMap":{"name":"kube-root-ca.crt","items":[{"key":"ca.crt","path":"ca.crt"}]}},` +
		`{"downwardAPI":{"items":[{"path":"namespace","fieldRef":{"apiVersion":"v1","fieldPath":"metadata.namespace"}}]}}],"defaultMode":420}}]`; string(got) != want {
		t.Errorf("volume\n%s\nwant\n%s", got, want)
	}

	mute := &corev1.Pod{Spec: corev1.PodSpec{ServiceAccountName: "mute", Containers: []corev1.Container{{}}}}
	if err := run(t.Context(), c, request(Create, "pods", "a", "p", mute, nil)); err != nil || len(mute.Spec.Volumes) != 0 {
		t.Errorf("%v %+v", err, mute.Spec.Volumes)
	}
	quiet := &corev1.Pod{Spec: corev1.PodSpec{AutomountServiceAccountToken: &no, Containers: []corev1.Container{{}}}}
	if err := run(t.Context(), c, request(Create, "pods", "a", "p", quiet, nil)); err != nil || len(quiet.Spec.Volumes) != 0 {
		t.Errorf("%v %+v", err, quiet.Spec.Volumes)
	}
	lost := &corev1.Pod{Spec: corev1.PodSpec{ServiceAccountName: "none"}}
	if err := run(t.Context(), c, request(Create, "pods", "a", "p", lost, nil)); err == nil || err.Error() != `pods "p" is forbidden: error looking up service account a/none: serviceaccount "none" not found` {
		t.Errorf("%v", err)
	}
	full := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{}}, Volumes: []corev1.Volume{{Name: "kube-api-access-mine"}}}}
	if err := run(t.Context(), c, request(Create, "pods", "a", "p", full, nil)); err != nil || len(full.Spec.Volumes) != 1 || full.Spec.Containers[0].VolumeMounts[0].Name != "kube-api-access-mine" {
		t.Errorf("%v %+v", err, full.Spec)
	}
	mirror := func() *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{corev1.MirrorPodAnnotationKey: "x"}}}
	}
	m := mirror()
	if err := run(t.Context(), c, request(Create, "pods", "a", "p", m, nil)); err != nil || m.Spec.ServiceAccountName != "" || len(m.Spec.Volumes) != 0 {
		t.Errorf("mirror: %v %+v", err, m.Spec)
	}
	m = mirror()
	m.Spec.ServiceAccountName = "default"
	if err := run(t.Context(), c, request(Create, "pods", "a", "p", m, nil)); !apierrors.IsForbidden(err) {
		t.Errorf("mirror with an account: %v", err)
	}
	m = mirror()
	m.Spec.Containers = []corev1.Container{{EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{}}}}}
	if err := run(t.Context(), c, request(Create, "pods", "a", "p", m, nil)); !apierrors.IsForbidden(err) {
		t.Errorf("mirror with a secret: %v", err)
	}
}

func TestPodWaitsForTheDefaultAccountOfANewNamespace(t *testing.T) {
	w := newWorld(t, namespace("a", corev1.NamespaceActive))
	s, err := NewServiceAccount(w.f, w.live)
	if err != nil {
		t.Fatal(err)
	}
	s.Patience = time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	defer w.f.Shutdown()
	defer cancel()
	w.f.Start(ctx.Done())
	w.f.WaitForCacheSync(ctx.Done())
	done := make(chan error)
	go func() {
		done <- s.Admit(ctx, request(Create, "pods", "a", "p", &corev1.Pod{}, nil))
	}()
	if _, err := w.live.CoreV1().ServiceAccounts("a").Create(ctx, &corev1.ServiceAccount{ObjectMeta: named("a", "default")}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestPriority(t *testing.T) {
	never := corev1.PreemptNever
	w := newWorld(t, namespace("a", corev1.NamespaceActive),
		&schedulingv1.PriorityClass{ObjectMeta: named("", "high"), Value: 1000, PreemptionPolicy: &never},
		&schedulingv1.PriorityClass{ObjectMeta: named("", "std"), Value: 10, GlobalDefault: true})
	p := NewPriority(w.f, w.live)
	int32p := func(v int32) *int32 { return &v }
	for _, tc := range []struct {
		class string
		have  *int32
		want  int32
		err   string
	}{
		{"high", nil, 1000, ""},
		{"high", int32p(1000), 1000, ""},
		{"high", int32p(7), 0, `pods "p" is forbidden: the integer value of priority (7) must not be provided in pod spec; priority admission controller computed 1000 from the given PriorityClass name`},
		{"", nil, 10, ""},
		{"none", nil, 0, `pods "p" is forbidden: no PriorityClass with name none was found`},
	} {
		pod := &corev1.Pod{Spec: corev1.PodSpec{PriorityClassName: tc.class, Priority: tc.have}}
		err := p.Admit(t.Context(), request(Create, "pods", "a", "p", pod, nil))
		if got := fmt.Sprint(err); (tc.err == "" && err != nil) || (tc.err != "" && got != tc.err) {
			t.Errorf("%q: %v", tc.class, err)
		}
		if err == nil && (*pod.Spec.Priority != tc.want || (tc.class == "high") != (*pod.Spec.PreemptionPolicy == never)) {
			t.Errorf("%q: %d %s", tc.class, *pod.Spec.Priority, *pod.Spec.PreemptionPolicy)
		}
	}
	second := &schedulingv1.PriorityClass{ObjectMeta: named("", "x"), GlobalDefault: true}
	if err := p.Validate(t.Context(), request(Create, "scheduling.k8s.io:priorityclasses", "", "x", second, nil)); !apierrors.IsForbidden(err) {
		t.Errorf("second default: %v", err)
	}
	for range 2 {
		if err := EnsureSystemPriorityClasses(t.Context(), w.live); err != nil {
			t.Fatal(err)
		}
	}
	if c, err := w.live.SchedulingV1().PriorityClasses().Get(t.Context(), "system-node-critical", metav1.GetOptions{}); err != nil || c.Value != 2000001000 {
		t.Errorf("%v %+v", err, c)
	}
}

func list(pairs ...string) corev1.ResourceList {
	l := corev1.ResourceList{}
	for i := 0; i+1 < len(pairs); i += 2 {
		l[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return l
}

func TestLimitRanger(t *testing.T) {
	lr := &corev1.LimitRange{ObjectMeta: named("a", "l"), Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{
		{Type: corev1.LimitTypeContainer, DefaultRequest: list("cpu", "100m"), Default: list("cpu", "500m", "memory", "1Gi"), Max: list("cpu", "1"), MaxLimitRequestRatio: list("cpu", "5")},
		{Type: corev1.LimitTypePod, Max: list("cpu", "1500m")},
		{Type: corev1.LimitTypePersistentVolumeClaim, Min: list("storage", "1Gi"), Max: list("storage", "5Gi")}}}}
	w := newWorld(t, lr)
	l := NewLimitRanger(w.f)
	pod := func(rs ...corev1.ResourceRequirements) *corev1.Pod {
		p := &corev1.Pod{}
		for i, r := range rs {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: fmt.Sprint("c", i), Resources: r})
		}
		return p
	}
	p := pod(corev1.ResourceRequirements{})
	if err := run(t.Context(), Chain{l}, request(Create, "pods", "a", "p", p, nil)); err != nil {
		t.Fatal(err)
	}
	r := p.Spec.Containers[0].Resources
	if r.Requests.Cpu().String() != "100m" || r.Limits.Memory().String() != "1Gi" || p.Annotations[limitAnnotation] != "LimitRanger plugin set: cpu request for container c0; cpu, memory limit for container c0" {
		t.Errorf("%+v %v", r, p.Annotations)
	}
	for _, tc := range []struct {
		name string
		obj  runtime.Object
		res  string
		want string
	}{
		{"too large", pod(corev1.ResourceRequirements{Requests: list("cpu", "1"), Limits: list("cpu", "2")}), "pods", "maximum cpu usage per Container is 1, but limit is 2"},
		{"ratio", pod(corev1.ResourceRequirements{Requests: list("cpu", "10m"), Limits: list("cpu", "1")}), "pods", "cpu max limit to request ratio per Container is 5, but provided ratio is 100.000000"},
		{"pod in all", pod(corev1.ResourceRequirements{Requests: list("cpu", "1"), Limits: list("cpu", "1")}, corev1.ResourceRequirements{Requests: list("cpu", "1"), Limits: list("cpu", "1")}), "pods", "maximum cpu usage per Pod is 1500m, but limit is 2"},
		{"claim too small", &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{Resources: corev1.VolumeResourceRequirements{Requests: list("storage", "1Mi")}}}, "persistentvolumeclaims", "minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1Mi"},
		{"claim too large", &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{Resources: corev1.VolumeResourceRequirements{Requests: list("storage", "6Gi")}}}, "persistentvolumeclaims", "maximum storage usage per PersistentVolumeClaim is 5Gi, but request is 6Gi"},
		{"claim that fits", &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{Resources: corev1.VolumeResourceRequirements{Requests: list("storage", "2Gi")}}}, "persistentvolumeclaims", ""},
	} {
		err := run(t.Context(), Chain{l}, request(Create, tc.res, "a", "x", tc.obj, nil))
		if (tc.want == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

func TestDefaultsOfOtherKinds(t *testing.T) {
	at := func(m metav1.ObjectMeta, hours int, mark string) metav1.ObjectMeta {
		m.CreationTimestamp = metav1.NewTime(epoch.Add(time.Duration(hours) * time.Hour))
		m.Annotations = map[string]string{mark: "true"}
		return m
	}
	const mark = "storageclass.kubernetes.io/is-default-class"
	yes := true
	w := newWorld(t, namespace("a", corev1.NamespaceActive),
		&storagev1.StorageClass{ObjectMeta: at(named("", "old"), 0, mark)}, &storagev1.StorageClass{ObjectMeta: at(named("", "b"), 1, mark)},
		&storagev1.StorageClass{ObjectMeta: at(named("", "a"), 1, mark), AllowVolumeExpansion: &yes}, &storagev1.StorageClass{ObjectMeta: named("", "plain")},
		&networkingv1.IngressClass{ObjectMeta: at(named("", "nau"), 0, networkingv1.AnnotationIsDefaultIngressClass)},
		&nodev1.RuntimeClass{ObjectMeta: named("", "vm"), Overhead: &nodev1.Overhead{PodFixed: list("memory", "64Mi")}, Scheduling: &nodev1.Scheduling{NodeSelector: map[string]string{"vm": "1"}}},
		&corev1.ServiceAccount{ObjectMeta: named("a", "default")})
	c := w.chain(authz.Always(authz.NoOpinion))
	claim := &corev1.PersistentVolumeClaim{}
	if err := run(t.Context(), c, request(Create, "persistentvolumeclaims", "a", "c", claim, nil)); err != nil || *claim.Spec.StorageClassName != "a" || claim.Finalizers[0] != "kubernetes.io/pvc-protection" {
		t.Errorf("%v %+v", err, claim)
	}
	none := ""
	claim = &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: &none}}
	if err := run(t.Context(), c, request(Create, "persistentvolumeclaims", "a", "c", claim, nil)); err != nil || *claim.Spec.StorageClassName != "" {
		t.Errorf("%v %+v", err, claim)
	}
	sized := func(class, size string) *corev1.PersistentVolumeClaim {
		return &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: &class, Resources: corev1.VolumeResourceRequirements{Requests: list("storage", size)}},
			Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound}}
	}
	if err := run(t.Context(), c, request(Update, "persistentvolumeclaims", "a", "c", sized("a", "2Gi"), sized("a", "1Gi"))); err != nil {
		t.Error(err)
	}
	if err := run(t.Context(), c, request(Update, "persistentvolumeclaims", "a", "c", sized("b", "2Gi"), sized("b", "1Gi"))); !apierrors.IsForbidden(err) {
		t.Error(err)
	}
	ingress := &networkingv1.Ingress{}
	if err := run(t.Context(), c, request(Create, "networking.k8s.io:ingresses", "a", "i", ingress, nil)); err != nil || *ingress.Spec.IngressClassName != "nau" {
		t.Errorf("%v %+v", err, ingress)
	}
	node := &corev1.Node{}
	if err := run(t.Context(), c, request(Create, "nodes", "", "n", node, nil)); err != nil || len(node.Spec.Taints) != 1 || node.Spec.Taints[0].Key != corev1.TaintNodeNotReady {
		t.Errorf("%v %+v", err, node.Spec)
	}
	vm, lost := "vm", "lost"
	pod := &corev1.Pod{Spec: corev1.PodSpec{RuntimeClassName: &vm}}
	if err := run(t.Context(), c, request(Create, "pods", "a", "p", pod, nil)); err != nil || pod.Spec.Overhead.Memory().String() != "64Mi" || pod.Spec.NodeSelector["vm"] != "1" {
		t.Errorf("%v %+v", err, pod.Spec)
	}
	if err := run(t.Context(), c, request(Create, "pods", "a", "p", &corev1.Pod{Spec: corev1.PodSpec{RuntimeClassName: &lost}}, nil)); !apierrors.IsForbidden(err) {
		t.Error(err)
	}
	if err := run(t.Context(), c, request(Create, "pods", "a", "p", &corev1.Pod{Spec: corev1.PodSpec{Overhead: list("cpu", "1")}}, nil)); !apierrors.IsForbidden(err) {
		t.Error(err)
	}
}

func TestPodSecurity(t *testing.T) {
	w := newWorld(t, namespace("open", corev1.NamespaceActive), namespace("strict", corev1.NamespaceActive, "pod-security.kubernetes.io/enforce", "restricted"),
		namespace("warned", corev1.NamespaceActive, "pod-security.kubernetes.io/warn", "baseline"))
	p, err := NewPodSecurity(w.f, w.live)
	if err != nil {
		t.Fatal(err)
	}
	yes := true
	pod := func() *corev1.Pod {
		return &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "x", SecurityContext: &corev1.SecurityContext{Privileged: &yes}}}}}
	}
	var warned []string
	try := func(ns string) error {
		r := request(Create, "pods", ns, "p", pod(), nil)
		r.Kind = corev1.SchemeGroupVersion.WithKind("Pod")
		r.Warn = func(s string) { warned = append(warned, s) }
		return p.Validate(t.Context(), r)
	}
	if err := try("open"); err != nil || len(warned) != 0 {
		t.Error(err, warned)
	}
	if err := try("strict"); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `pods "p" is forbidden: violates PodSecurity "restricted:latest": privileged`) {
		t.Error(err)
	}
	if err := try("warned"); err != nil || len(warned) != 1 || !strings.Contains(warned[0], `would violate PodSecurity "baseline:latest"`) {
		t.Error(err, warned)
	}
}
