package resourcequota

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"nau/internal/api/usage"
)

// Decide is a quota's status: its limits, and what the namespace's objects use of each. Names that are counted by a resource
// which is not among objects are not said to be used, so that nothing can be charged to them.
func Decide(quota *corev1.ResourceQuota, objects map[schema.GroupResource][]runtime.Object, now time.Time) corev1.ResourceQuotaStatus {
	status := corev1.ResourceQuotaStatus{Hard: quota.Spec.Hard.DeepCopy(), Used: corev1.ResourceList{}}
	for name, hard := range quota.Spec.Hard {
		gr, ok := usage.By(name)
		if _, known := objects[gr]; ok && known {
			status.Used[name] = resource.Quantity{Format: hard.Format}
		}
	}
	for gr, list := range objects {
		for _, obj := range list {
			if usage.Covers(&quota.Spec, obj) {
				usage.Add(status.Used, usage.Of(gr, obj, now), status.Used)
			}
		}
	}
	return status
}

// Keep raises what a count says to what is charged by now, where that is more, and tells whether it is anywhere.
func Keep(count, charged *corev1.ResourceQuotaStatus) (more bool) {
	for name, seen := range count.Used {
		if had, ok := charged.Used[name]; ok && had.Cmp(seen) > 0 {
			count.Used[name] = had.DeepCopy()
			more = true
		}
	}
	return more
}
