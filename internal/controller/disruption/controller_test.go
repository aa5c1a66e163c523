package disruption

import (
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"nau/internal/controller/controllertest"
)

// Two replica sets of one deployment count once.
func TestController(t *testing.T) {
	yes, five, fifth := true, int32(5), intstr.FromString("20%")
	labels := map[string]string{"app": "web"}
	owner := func(kind, name string) metav1.OwnerReference {
		return metav1.OwnerReference{APIVersion: "apps/v1", Kind: kind, Name: name, UID: types.UID("uid-" + name), Controller: &yes}
	}
	object := func(name string, above ...metav1.OwnerReference) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: name, Namespace: "n", UID: types.UID("uid-" + name), Labels: labels, OwnerReferences: above}
	}
	pod := func(name, set string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: object(name, owner("ReplicaSet", set)),
			Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}}
	}
	e := controllertest.New(t,
		&appsv1.Deployment{ObjectMeta: object("web"), Spec: appsv1.DeploymentSpec{Replicas: &five}},
		&appsv1.ReplicaSet{ObjectMeta: object("old", owner("Deployment", "web")), Spec: appsv1.ReplicaSetSpec{Replicas: &five}},
		&appsv1.ReplicaSet{ObjectMeta: object("new", owner("Deployment", "web")), Spec: appsv1.ReplicaSetSpec{Replicas: &five}},
		pod("a", "old"), pod("b", "old"), pod("c", "new"), pod("d", "new"),
		&policyv1.PodDisruptionBudget{ObjectMeta: object("budget"), Spec: policyv1.PodDisruptionBudgetSpec{MaxUnavailable: &fifth, Selector: &metav1.LabelSelector{MatchLabels: labels}}})
	e.Run(New(Config{Client: e.Client, Informers: e.Informers}))
	allowed := func(healthy, n int32) func() error {
		return func() error {
			b, err := e.Client.PolicyV1().PodDisruptionBudgets("n").Get(e.Ctx, "budget", metav1.GetOptions{})
			if err != nil || b.Status.ExpectedPods != 5 || b.Status.DesiredHealthy != 4 || b.Status.CurrentHealthy != healthy || b.Status.DisruptionsAllowed != n {
				return fmt.Errorf("%+v %v", b.Status, err)
			}
			return nil
		}
	}
	e.Until(allowed(4, 0))
	if _, err := e.Client.CoreV1().Pods("n").Create(e.Ctx, pod("f", "new"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	e.Until(allowed(5, 1))
}
