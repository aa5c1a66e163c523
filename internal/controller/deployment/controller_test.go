package deployment

import (
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nau/internal/controller/controllertest"
)

func TestController(t *testing.T) {
	e := controllertest.New(t, deployment(3))
	e.Run(New(Config{Client: e.Client, Informers: e.Informers}))
	apps := e.Client.AppsV1()
	sets := func(n int, revision string, replicas int32) func() error {
		return func() error {
			list, err := apps.ReplicaSets("a").List(e.Ctx, metav1.ListOptions{})
			if err != nil || len(list.Items) != n {
				return fmt.Errorf("%d sets (%v), want %d", len(list.Items), err, n)
			}
			for i := range list.Items {
				set := &list.Items[i]
				if set.Status.AvailableReplicas != *set.Spec.Replicas { // play the replica set's controller
					set.Status.Replicas, set.Status.ReadyReplicas, set.Status.AvailableReplicas = *set.Spec.Replicas, *set.Spec.Replicas, *set.Spec.Replicas
					set.Status.ObservedGeneration = set.Generation
					if _, err := apps.ReplicaSets("a").UpdateStatus(e.Ctx, set, metav1.UpdateOptions{}); err != nil {
						return err
					}
				}
			}
			d, err := apps.Deployments("a").Get(e.Ctx, "web", metav1.GetOptions{})
			if err != nil || d.Annotations[RevisionAnnotation] != revision || d.Status.UpdatedReplicas != replicas || d.Status.Replicas != replicas || d.Status.AvailableReplicas != replicas {
				return fmt.Errorf("deployment %v %+v (%v)", d.Annotations, d.Status, err)
			}
			return nil
		}
	}
	e.Until(sets(1, "1", 3))
	d, err := apps.Deployments("a").Get(e.Ctx, "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	d = d.DeepCopy()
	image("v2")(d)
	if _, err := apps.Deployments("a").Update(e.Ctx, d, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	e.Until(sets(2, "2", 3))
}
