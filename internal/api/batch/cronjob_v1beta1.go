package batch

import (
	batchv1 "k8s.io/api/batch/v1"
	batchv1beta1 "k8s.io/api/batch/v1beta1"
)

// cronJobToV1 turns the removed beta shape into the stored one: field by field the same.
func cronJobToV1(in *batchv1beta1.CronJob) *batchv1.CronJob {
	out := &batchv1.CronJob{
		ObjectMeta: in.ObjectMeta,
		Spec: batchv1.CronJobSpec{
			Schedule:                   in.Spec.Schedule,
			TimeZone:                   in.Spec.TimeZone,
			StartingDeadlineSeconds:    in.Spec.StartingDeadlineSeconds,
			ConcurrencyPolicy:          batchv1.ConcurrencyPolicy(in.Spec.ConcurrencyPolicy),
			Suspend:                    in.Spec.Suspend,
			JobTemplate:                batchv1.JobTemplateSpec{ObjectMeta: in.Spec.JobTemplate.ObjectMeta, Spec: in.Spec.JobTemplate.Spec},
			SuccessfulJobsHistoryLimit: in.Spec.SuccessfulJobsHistoryLimit,
			FailedJobsHistoryLimit:     in.Spec.FailedJobsHistoryLimit,
		},
		Status: batchv1.CronJobStatus{
			Active:             in.Status.Active,
			LastScheduleTime:   in.Status.LastScheduleTime,
			LastSuccessfulTime: in.Status.LastSuccessfulTime,
		},
	}
	out.SetGroupVersionKind(batchv1.SchemeGroupVersion.WithKind("CronJob"))
	return out
}

// cronJobFromV1 is the inverse of cronJobToV1.
func cronJobFromV1(in *batchv1.CronJob) *batchv1beta1.CronJob {
	out := &batchv1beta1.CronJob{
		ObjectMeta: in.ObjectMeta,
		Spec: batchv1beta1.CronJobSpec{
			Schedule:                   in.Spec.Schedule,
			TimeZone:                   in.Spec.TimeZone,
			StartingDeadlineSeconds:    in.Spec.StartingDeadlineSeconds,
			ConcurrencyPolicy:          batchv1beta1.ConcurrencyPolicy(in.Spec.ConcurrencyPolicy),
			Suspend:                    in.Spec.Suspend,
			JobTemplate:                batchv1beta1.JobTemplateSpec{ObjectMeta: in.Spec.JobTemplate.ObjectMeta, Spec: in.Spec.JobTemplate.Spec},
			SuccessfulJobsHistoryLimit: in.Spec.SuccessfulJobsHistoryLimit,
			FailedJobsHistoryLimit:     in.Spec.FailedJobsHistoryLimit,
		},
		Status: batchv1beta1.CronJobStatus{
			Active:             in.Status.Active,
			LastScheduleTime:   in.Status.LastScheduleTime,
			LastSuccessfulTime: in.Status.LastSuccessfulTime,
		},
	}
	out.SetGroupVersionKind(batchv1beta1.SchemeGroupVersion.WithKind("CronJob"))
	return out
}
