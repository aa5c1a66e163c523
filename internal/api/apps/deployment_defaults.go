package apps

import (
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"nau/internal/api/core"
)

// DefaultDeployment fills a deployment's unset fields: rolling updates by a quarter, ten revisions, ten
// minutes until no progress counts as a failure.
func DefaultDeployment(d *appsv1.Deployment) {
	s := &d.Spec
	core.DefaultPodTemplate(&s.Template)
	or(&s.Replicas, 1)
	if s.Strategy.Type == "" {
		s.Strategy.Type = appsv1.RollingUpdateDeploymentStrategyType
	}
	if s.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
		if s.Strategy.RollingUpdate == nil {
			s.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{}
		}
		r := s.Strategy.RollingUpdate
		if r.MaxUnavailable == nil {
			r.MaxUnavailable = ptr.To(intstr.FromString("25%"))
		}
		if r.MaxSurge == nil {
			r.MaxSurge = ptr.To(intstr.FromString("25%"))
		}
	}
	or(&s.RevisionHistoryLimit, 10)
	or(&s.ProgressDeadlineSeconds, 600)
}

func or[T any](p **T, value T) {
	if *p == nil {
		*p = &value
	}
}
