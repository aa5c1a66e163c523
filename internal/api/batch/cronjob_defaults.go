package batch

import (
	batchv1 "k8s.io/api/batch/v1"
	batchv1beta1 "k8s.io/api/batch/v1beta1"

	"nau/internal/api/core"
)

// DefaultCronJob fills a cron job's unset fields: runs may overlap, three successes and one failure are
// remembered.
func DefaultCronJob(c *batchv1.CronJob) {
	core.DefaultPodTemplate(&c.Spec.JobTemplate.Spec.Template)
	if c.Spec.ConcurrencyPolicy == "" {
		c.Spec.ConcurrencyPolicy = batchv1.AllowConcurrent
	}
	or(&c.Spec.Suspend, false)
	or(&c.Spec.SuccessfulJobsHistoryLimit, 3)
	or(&c.Spec.FailedJobsHistoryLimit, 1)
}

// DefaultCronJobV1beta1 is DefaultCronJob for the removed beta shape.
func DefaultCronJobV1beta1(c *batchv1beta1.CronJob) {
	core.DefaultPodTemplate(&c.Spec.JobTemplate.Spec.Template)
	if c.Spec.ConcurrencyPolicy == "" {
		c.Spec.ConcurrencyPolicy = batchv1beta1.AllowConcurrent
	}
	or(&c.Spec.Suspend, false)
	or(&c.Spec.SuccessfulJobsHistoryLimit, 3)
	or(&c.Spec.FailedJobsHistoryLimit, 1)
}
