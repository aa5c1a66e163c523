package apiserver

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"nau/internal/api"
)

func policy(p metav1.DeletionPropagation) *metav1.DeletionPropagation { return &p }
func ptr[T any](v T) *T                                               { return &v }

func TestDecideDeletion(t *testing.T) {
	now := time.Unix(1000, 0)
	graceful := &api.Strategy{Grace: func(_ runtime.Object, asked *int64) (int64, bool) {
		if asked != nil {
			return *asked, true
		}
		return 30, true
	}}
	plain := &api.Strategy{}
	later := metav1.NewTime(now.Add(20 * time.Second))
	for name, tc := range map[string]struct {
		s     *api.Strategy
		meta  metav1.ObjectMeta
		o     metav1.DeleteOptions
		check func(t *testing.T, d deletion, n *corev1.Pod)
	}{
		"plain objects go at once": {s: plain, check: gone},
		"a finalizer holds": {s: plain, meta: metav1.ObjectMeta{Finalizers: []string{"a"}, Generation: 1}, check: func(t *testing.T, d deletion, n *corev1.Pod) {
			if n == nil || n.DeletionTimestamp == nil || *n.DeletionGracePeriodSeconds != 0 || n.Generation != 2 {
				t.Errorf("%+v", n)
			}
		}},
		"a held deletion is not repeated": {s: plain, meta: metav1.ObjectMeta{Finalizers: []string{"a"}, DeletionTimestamp: &metav1.Time{Time: now}, DeletionGracePeriodSeconds: ptr[int64](0)}, check: nothing},
		"foreground": {s: plain, o: metav1.DeleteOptions{PropagationPolicy: policy(metav1.DeletePropagationForeground)}, check: func(t *testing.T, d deletion, n *corev1.Pod) {
			if n == nil || len(n.Finalizers) != 1 || n.Finalizers[0] != metav1.FinalizerDeleteDependents || n.DeletionTimestamp == nil {
				t.Errorf("%+v", d)
			}
		}},
		"orphan": {s: plain, o: metav1.DeleteOptions{PropagationPolicy: policy(metav1.DeletePropagationOrphan)}, check: func(t *testing.T, d deletion, n *corev1.Pod) {
			if n == nil || len(n.Finalizers) != 1 || n.Finalizers[0] != metav1.FinalizerOrphanDependents {
				t.Errorf("%+v", d)
			}
		}},
		"background takes the other policies out": {s: plain, meta: metav1.ObjectMeta{Finalizers: []string{metav1.FinalizerOrphanDependents}}, o: metav1.DeleteOptions{PropagationPolicy: policy(metav1.DeletePropagationBackground)}, check: gone},
		"grace": {s: graceful, check: func(t *testing.T, d deletion, n *corev1.Pod) {
			if n == nil || *n.DeletionGracePeriodSeconds != 30 || !n.DeletionTimestamp.Time.Equal(now.Add(30*time.Second)) {
				t.Errorf("%+v", d)
			}
		}},
		"no grace": {s: graceful, o: metav1.DeleteOptions{GracePeriodSeconds: ptr[int64](0)}, check: gone},
		"grace 0 with a finalizer stays": {s: graceful, meta: metav1.ObjectMeta{Finalizers: []string{"a"}}, o: metav1.DeleteOptions{GracePeriodSeconds: ptr[int64](0)}, check: func(t *testing.T, d deletion, n *corev1.Pod) {
			if n == nil || *n.DeletionGracePeriodSeconds != 0 || d.remove {
				t.Errorf("%+v", d)
			}
		}},
		"a period is not made longer": {s: graceful, meta: metav1.ObjectMeta{DeletionTimestamp: &later, DeletionGracePeriodSeconds: ptr[int64](30)}, o: metav1.DeleteOptions{GracePeriodSeconds: ptr[int64](60)}, check: nothing},
		"a period is made shorter": {s: graceful, meta: metav1.ObjectMeta{DeletionTimestamp: &later, DeletionGracePeriodSeconds: ptr[int64](30)}, o: metav1.DeleteOptions{GracePeriodSeconds: ptr[int64](5)}, check: func(t *testing.T, d deletion, n *corev1.Pod) {
			if n == nil || *n.DeletionGracePeriodSeconds != 5 || !n.DeletionTimestamp.Time.Equal(later.Add(-25*time.Second)) {
				t.Errorf("%+v", d)
			}
		}},
		"the agent's last word": {s: graceful, meta: metav1.ObjectMeta{DeletionTimestamp: &later, DeletionGracePeriodSeconds: ptr[int64](30)}, o: metav1.DeleteOptions{GracePeriodSeconds: ptr[int64](0)}, check: gone},
	} {
		t.Run(name, func(t *testing.T) {
			p := &corev1.Pod{ObjectMeta: tc.meta}
			d, err := decideDeletion(now, tc.s, p, &tc.o)
			if err != nil {
				t.Fatal(err)
			}
			n, _ := d.next.(*corev1.Pod)
			tc.check(t, d, n)
		})
	}
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "a"}}
	if _, err := decideDeletion(now, plain, p, &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: ptr(types.UID("b"))}}); err == nil {
		t.Error("another object was deleted")
	}
}

func gone(t *testing.T, d deletion, n *corev1.Pod) {
	t.Helper()
	if !d.remove || d.next != nil {
		t.Errorf("%+v", d)
	}
}

func nothing(t *testing.T, d deletion, n *corev1.Pod) {
	t.Helper()
	if d.remove || d.next != nil {
		t.Errorf("%+v", d)
	}
}

func TestNamespaceWaitsForItsContent(t *testing.T) {
	c := newCluster(t)
	c.namespace("ns")
	const path = "/api/v1/namespaces/ns"
	var ns corev1.Namespace
	c.do("DELETE", path, nil).want(200, &ns)
	if ns.DeletionTimestamp == nil || ns.Status.Phase != corev1.NamespaceTerminating || len(ns.Spec.Finalizers) != 1 {
		t.Fatalf("%+v", ns)
	}
	ns.Spec.Finalizers = nil
	c.do("PUT", path+"/finalize", ns).want(200)
	c.do("GET", path, nil).want(404)
}

func TestFinalizersEndADeletion(t *testing.T) {
	c := newCluster(t)
	c.namespace("ns")
	const path = "/apis/apps/v1/namespaces/ns/deployments/d"
	d := appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "d", Finalizers: []string{"x.y/z"}}, Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}}}
	c.do("POST", "/apis/apps/v1/namespaces/ns/deployments", d).want(201)
	c.do("DELETE", path, `{"kind":"DeleteOptions","apiVersion":"v1","propagationPolicy":"Foreground"}`).want(200, &d)
	if len(d.Finalizers) != 2 || d.DeletionTimestamp == nil {
		t.Fatalf("%+v", d.ObjectMeta)
	}
	c.do("DELETE", path+"?dryRun=All", nil).want(200)
	c.do("DELETE", path, `{"preconditions":{"uid":"other"}}`).fails(409, metav1.StatusReasonConflict, "the UID in the precondition (other) does not match")
	c.do("PATCH", path, `{"metadata":{"finalizers":["new/one"]}}`, "Content-Type", "application/merge-patch+json").fails(422, metav1.StatusReasonInvalid, "no new finalizers can be added if the object is being deleted")
	c.do("PATCH", path, `{"metadata":{"finalizers":null}}`, "Content-Type", "application/merge-patch+json").want(200)
	c.do("GET", path, nil).want(404)
}
