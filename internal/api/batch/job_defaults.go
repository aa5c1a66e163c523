package batch

import (
	"maps"
	"math"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"nau/internal/api/core"
)

// DefaultJob fills a job's unset fields: one completion, six retries.
func DefaultJob(j *batchv1.Job) {
	s := &j.Spec
	core.DefaultPodTemplate(&s.Template)
	if s.Completions == nil && s.Parallelism == nil {
		or(&s.Completions, 1)
	}
	or(&s.Parallelism, 1)
	if s.BackoffLimit == nil {
		if s.BackoffLimitPerIndex != nil {
			or(&s.BackoffLimit, math.MaxInt32)
		} else {
			or(&s.BackoffLimit, 6)
		}
	}
	if len(j.Labels) == 0 && len(s.Template.Labels) > 0 {
		j.Labels = maps.Clone(s.Template.Labels)
	}
	or(&s.CompletionMode, batchv1.NonIndexedCompletion)
	or(&s.Suspend, false)
	or(&s.ManualSelector, false)
	if s.PodFailurePolicy != nil {
		for i := range s.PodFailurePolicy.Rules {
			patterns := s.PodFailurePolicy.Rules[i].OnPodConditions
			for k := range patterns {
				if patterns[k].Status == "" {
					patterns[k].Status = corev1.ConditionTrue
				}
			}
		}
	}
	if s.PodReplacementPolicy == nil {
		policy := batchv1.TerminatingOrFailed
		if s.PodFailurePolicy != nil {
			policy = batchv1.Failed
		}
		s.PodReplacementPolicy = &policy
	}
}

func or[T any](p **T, value T) {
	if *p == nil {
		*p = &value
	}
}
