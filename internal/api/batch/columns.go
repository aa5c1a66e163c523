package batch

import (
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/utils/ptr"

	"nau/internal/api"
	"nau/internal/api/column"
	"nau/internal/api/core"
)

func jobColumns() []api.Column {
	return append([]api.Column{
		column.Name(),
		column.Text("Status", "Status of the job.", jobStatus),
		column.Text("Completions", batchv1.JobStatus{}.SwaggerDoc()["succeeded"], func(j *batchv1.Job) string {
			switch parallelism := ptr.Deref(j.Spec.Parallelism, 0); {
			case j.Spec.Completions != nil:
				return fmt.Sprintf("%d/%d", j.Status.Succeeded, *j.Spec.Completions)
			case parallelism > 1:
				return fmt.Sprintf("%d/1 of %d", j.Status.Succeeded, parallelism)
			}
			return fmt.Sprintf("%d/1", j.Status.Succeeded)
		}),
		column.Timed("Duration", "Time required to complete the job.", func(j *batchv1.Job, now time.Time) string {
			switch {
			case j.Status.StartTime == nil:
				return ""
			case j.Status.CompletionTime == nil:
				return duration.HumanDuration(now.Sub(j.Status.StartTime.Time))
			}
			return duration.HumanDuration(j.Status.CompletionTime.Sub(j.Status.StartTime.Time))
		}),
		column.Age(),
	}, column.Wide(
		column.Text("Containers", "Names of each container in the template.", func(j *batchv1.Job) string { return core.ContainerNames(&j.Spec.Template.Spec) }),
		column.Text("Images", "Images referenced by each container in the template.", func(j *batchv1.Job) string { return core.ContainerImages(&j.Spec.Template.Spec) }),
		column.Text("Selector", batchv1.JobSpec{}.SwaggerDoc()["selector"], func(j *batchv1.Job) string { return column.Selector(j.Spec.Selector) }),
	)...)
}

// jobStatus is the first of these that is true of the job.
func jobStatus(j *batchv1.Job) string {
	has := func(kind batchv1.JobConditionType) bool {
		for _, c := range j.Status.Conditions {
			if c.Type == kind && c.Status == corev1.ConditionTrue {
				return true
			}
		}
		return false
	}
	switch {
	case has(batchv1.JobComplete):
		return "Complete"
	case has(batchv1.JobFailed):
		return "Failed"
	case j.DeletionTimestamp != nil:
		return "Terminating"
	case has(batchv1.JobSuspended):
		return "Suspended"
	case has(batchv1.JobFailureTarget):
		return "FailureTarget"
	case has(batchv1.JobSuccessCriteriaMet):
		return "SuccessCriteriaMet"
	}
	return "Running"
}

func cronJobColumns() []api.Column {
	doc := batchv1.CronJobSpec{}.SwaggerDoc()
	return append([]api.Column{
		column.Name(),
		column.Text("Schedule", doc["schedule"], func(c *batchv1.CronJob) string { return c.Spec.Schedule }),
		column.Text("Timezone", doc["timeZone"], func(c *batchv1.CronJob) string { return ptr.Deref(c.Spec.TimeZone, column.None) }),
		column.Text("Suspend", doc["suspend"], func(c *batchv1.CronJob) string {
			if ptr.Deref(c.Spec.Suspend, false) {
				return "True"
			}
			return "False"
		}),
		column.Number("Active", batchv1.CronJobStatus{}.SwaggerDoc()["active"], func(c *batchv1.CronJob) int { return len(c.Status.Active) }),
		column.Timed("Last Schedule", batchv1.CronJobStatus{}.SwaggerDoc()["lastScheduleTime"], func(c *batchv1.CronJob, now time.Time) string {
			if c.Status.LastScheduleTime == nil {
				return column.None
			}
			return column.Since(*c.Status.LastScheduleTime, now)
		}),
		column.Age(),
	}, column.Wide(
		column.Text("Containers", "Names of each container in the template.", func(c *batchv1.CronJob) string {
			return core.ContainerNames(&c.Spec.JobTemplate.Spec.Template.Spec)
		}),
		column.Text("Images", "Images referenced by each container in the template.", func(c *batchv1.CronJob) string {
			return core.ContainerImages(&c.Spec.JobTemplate.Spec.Template.Spec)
		}),
		column.Text("Selector", batchv1.JobSpec{}.SwaggerDoc()["selector"], func(c *batchv1.CronJob) string {
			return column.Selector(c.Spec.JobTemplate.Spec.Selector)
		}),
	)...)
}
