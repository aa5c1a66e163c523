package apps

import (
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"nau/internal/api/core"
)

// DefaultDaemonSet fills a daemon set's unset fields: rolling updates one node at a time.
func DefaultDaemonSet(d *appsv1.DaemonSet) {
	s := &d.Spec
	core.DefaultPodTemplate(&s.Template)
	if s.UpdateStrategy.Type == "" {
		s.UpdateStrategy.Type = appsv1.RollingUpdateDaemonSetStrategyType
	}
	if s.UpdateStrategy.Type == appsv1.RollingUpdateDaemonSetStrategyType {
		if s.UpdateStrategy.RollingUpdate == nil {
			s.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateDaemonSet{}
		}
		or(&s.UpdateStrategy.RollingUpdate.MaxUnavailable, intstr.FromInt32(1))
		or(&s.UpdateStrategy.RollingUpdate.MaxSurge, intstr.FromInt32(0))
	}
	or(&s.RevisionHistoryLimit, 10)
}
