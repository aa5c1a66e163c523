package batch

import (
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
)

func goodJob() *batchv1.Job {
	j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "j", UID: "u"}, Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "c", Image: "i"}}}}}}
	DefaultJob(j)
	prepareJob(j)
	return j
}

func TestDefaultJob(t *testing.T) {
	j := goodJob()
	s := j.Spec
	if *s.Completions != 1 || *s.Parallelism != 1 || *s.BackoffLimit != 6 || *s.CompletionMode != batchv1.NonIndexedCompletion || *s.Suspend ||
		*s.PodReplacementPolicy != batchv1.TerminatingOrFailed {
		t.Errorf("got %+v", s)
	}
	queue := &batchv1.Job{Spec: batchv1.JobSpec{Parallelism: ptr.To(int32(3))}}
	if DefaultJob(queue); queue.Spec.Completions != nil {
		t.Error("a work queue got a number of completions")
	}
}

func TestAJobSelectsItsOwnPods(t *testing.T) {
	j := goodJob()
	labels := j.Spec.Template.Labels
	if labels[batchv1.ControllerUidLabel] != "u" || labels[batchv1.JobNameLabel] != "j" || labels["controller-uid"] != "u" || labels["job-name"] != "j" {
		t.Errorf("labels %v", labels)
	}
	if j.Spec.Selector.MatchLabels[batchv1.ControllerUidLabel] != "u" || len(j.Spec.Selector.MatchLabels) != 1 {
		t.Errorf("selector %v", j.Spec.Selector)
	}
	if errs := validateJob(j); len(errs) > 0 {
		t.Error(errs)
	}
}

func TestJobStatusIsOneWay(t *testing.T) {
	now := metav1.Unix(1, 0)
	done := batchv1.JobStatus{Succeeded: 1, CompletionTime: &now, Conditions: []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: corev1.ConditionTrue}}}
	for name, c := range map[string]struct {
		old, new batchv1.JobStatus
		want     string
	}{
		"completes":       {batchv1.JobStatus{Active: 1}, done, ""},
		"no time":         {batchv1.JobStatus{}, batchv1.JobStatus{Conditions: done.Conditions}, "status.completionTime"},
		"comes back":      {done, batchv1.JobStatus{Succeeded: 1, CompletionTime: &now}, "status.completionTime"},
		"active and done": {batchv1.JobStatus{}, batchv1.JobStatus{Active: 1, CompletionTime: &now, Conditions: done.Conditions}, "status.active"},
	} {
		n, o := goodJob(), goodJob()
		n.Status, o.Status = c.new, c.old
		errs := validateJobStatus(n, o)
		if (c.want == "") != (len(errs) == 0) || len(errs) > 0 && !hasField(errs, c.want) {
			t.Errorf("%s: %v", name, errs)
		}
	}
}

func hasField(errs field.ErrorList, name string) bool {
	for _, e := range errs {
		if e.Field == name {
			return true
		}
	}
	return false
}

func TestCronJobBetaIsTheSame(t *testing.T) {
	c := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Name: "c"}, Spec: batchv1.CronJobSpec{Schedule: "@daily"}}
	DefaultCronJob(c)
	back := cronJobToV1(cronJobFromV1(c))
	if back.Spec.Schedule != "@daily" || *back.Spec.SuccessfulJobsHistoryLimit != 3 || back.Spec.ConcurrencyPolicy != batchv1.AllowConcurrent {
		t.Errorf("got %+v", back.Spec)
	}
}
