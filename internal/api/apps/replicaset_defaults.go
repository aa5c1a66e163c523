package apps

import (
	appsv1 "k8s.io/api/apps/v1"

	"nau/internal/api/core"
)

// DefaultReplicaSet fills a replica set's unset fields.
func DefaultReplicaSet(r *appsv1.ReplicaSet) {
	core.DefaultPodTemplate(&r.Spec.Template)
	or(&r.Spec.Replicas, 1)
}
