// Package replicationcontroller keeps as many pods as a ReplicationController
// asks for. It is the replica set's controller, shown replication controllers as
// if they were replica sets. Only cluster wires it.
package replicationcontroller

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"nau/internal/controller/replicaset"
)

// New makes the controller.
func New(cfg replicaset.Config) (*replicaset.Controller, error) {
	informer := cfg.Informers.Core().V1().ReplicationControllers()
	lister := informer.Lister()
	return replicaset.NewFor(replicaset.Kind{
		Name:     "replicationcontroller",
		GVK:      corev1.SchemeGroupVersion.WithKind("ReplicationController"),
		Informer: informer.Informer(),
		Get: func(namespace, name string) (*appsv1.ReplicaSet, error) {
			rc, err := lister.ReplicationControllers(namespace).Get(name)
			return asSet(rc), err
		},
		Live: func(ctx context.Context, namespace, name string) (*appsv1.ReplicaSet, error) {
			rc, err := cfg.Client.CoreV1().ReplicationControllers(namespace).Get(ctx, name, metav1.GetOptions{})
			return asSet(rc), err
		},
		List: func(namespace string) ([]*appsv1.ReplicaSet, error) {
			rcs, err := lister.ReplicationControllers(namespace).List(labels.Everything())
			sets := make([]*appsv1.ReplicaSet, len(rcs))
			for i := range rcs {
				sets[i] = asSet(rcs[i])
			}
			return sets, err
		},
		UpdateStatus: func(ctx context.Context, set *appsv1.ReplicaSet) (*appsv1.ReplicaSet, error) {
			rc, err := lister.ReplicationControllers(set.Namespace).Get(set.Name)
			if err != nil {
				return nil, err
			}
			rc = rc.DeepCopy()
			rc.ResourceVersion = set.ResourceVersion // of what the status was computed from
			rc.Status = fromStatus(set.Status)
			rc, err = cfg.Client.CoreV1().ReplicationControllers(set.Namespace).UpdateStatus(ctx, rc, metav1.UpdateOptions{})
			return asSet(rc), err
		},
		Handler: replicaset.Handler[*corev1.ReplicationController],
	}, cfg)
}
