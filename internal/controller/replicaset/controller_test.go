package replicaset

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nau/internal/controller/controllertest"
)

func TestController(t *testing.T) {
	e := controllertest.New(t, set(3))
	e.Run(New(Config{Client: e.Client, Informers: e.Informers}))
	count := func(n int, replicas int32) func() error {
		return func() error {
			pods, err := e.Client.CoreV1().Pods("a").List(e.Ctx, metav1.ListOptions{})
			if err != nil || len(pods.Items) != n {
				return fmt.Errorf("%d pods (%v), want %d", len(pods.Items), err, n)
			}
			s, err := e.Client.AppsV1().ReplicaSets("a").Get(e.Ctx, "web", metav1.GetOptions{})
			if err != nil || s.Status.Replicas != replicas || s.Status.ObservedGeneration != 3 {
				return fmt.Errorf("status %+v (%v)", s.Status, err)
			}
			return nil
		}
	}
	e.Until(count(3, 3))
	pods, _ := e.Client.CoreV1().Pods("a").List(e.Ctx, metav1.ListOptions{})
	for _, p := range pods.Items {
		if ref := metav1.GetControllerOf(&p); ref == nil || ref.UID != "set" || ref.Kind != "ReplicaSet" || p.Labels["app"] != "web" {
			t.Errorf("%+v", p.ObjectMeta)
		}
	}
	e.Client.CoreV1().Pods("a").Delete(e.Ctx, pods.Items[0].Name, metav1.DeleteOptions{})
	e.Until(func() error {
		now, _ := e.Client.CoreV1().Pods("a").List(e.Ctx, metav1.ListOptions{})
		if len(now.Items) != 3 || now.Items[0].Name == pods.Items[0].Name {
			return fmt.Errorf("%d pods", len(now.Items))
		}
		return nil
	})
	s := set(1)
	if _, err := e.Client.AppsV1().ReplicaSets("a").Update(e.Ctx, s, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	e.Until(count(1, 1))
	loose := pod("loose", func(p *corev1.Pod) { p.CreationTimestamp = metav1.Time{} })
	if _, err := e.Client.CoreV1().Pods("a").Create(e.Ctx, loose, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	e.Until(count(1, 1)) // adopted, and one of the two deleted
}
