package batch

import (
	"maps"
	"strconv"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"nau/internal/api/core"
	"nau/internal/api/meta"
)

// The labels that the job's name and uid went by before they had a domain; still written.
const (
	legacyControllerUID = "controller-uid"
	legacyJobName       = "job-name"
)

// prepareJob gives a job a selector that no other job can have: its own uid, which must be known by now.
func prepareJob(j *batchv1.Job) {
	j.Status = batchv1.JobStatus{}
	j.Generation = 1
	if ptr.Deref(j.Spec.ManualSelector, false) {
		return
	}
	t := &j.Spec.Template
	if t.Labels == nil {
		t.Labels = map[string]string{}
	}
	uid := string(j.UID)
	for key, value := range map[string]string{
		batchv1.ControllerUidLabel: uid, legacyControllerUID: uid, batchv1.JobNameLabel: j.Name, legacyJobName: j.Name,
	} {
		if _, set := t.Labels[key]; !set {
			t.Labels[key] = value
		}
	}
	if len(j.Labels) == 0 { // a job without labels has its template's
		j.Labels = maps.Clone(t.Labels)
	}
	if j.Spec.Selector == nil {
		j.Spec.Selector = &metav1.LabelSelector{}
	}
	if j.Spec.Selector.MatchLabels == nil {
		j.Spec.Selector.MatchLabels = map[string]string{}
	}
	if _, set := j.Spec.Selector.MatchLabels[batchv1.ControllerUidLabel]; !set {
		j.Spec.Selector.MatchLabels[batchv1.ControllerUidLabel] = uid
	}
}

func jobFields(j *batchv1.Job) fields.Set {
	return fields.Set{"status.successful": strconv.Itoa(int(j.Status.Succeeded))}
}

func jobWarnings(new, old *batchv1.Job) []string {
	var out []string
	if old != nil && apiequality.Semantic.DeepEqual(new.Spec, old.Spec) {
		return nil
	}
	if old == nil {
		completions, parallelism := ptr.Deref(new.Spec.Completions, 0), ptr.Deref(new.Spec.Parallelism, 0)
		if indexed(&new.Spec) && completions > 100_000 && parallelism > 10_000 {
			out = append(out, "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail")
		}
	}
	return append(out, core.PodTemplateWarnings(field.NewPath("spec", "template"), &new.Spec.Template, nil)...)
}

func cronJobWarnings(new, old *batchv1.CronJob) []string {
	if old != nil && apiequality.Semantic.DeepEqual(new.Spec, old.Spec) {
		return nil
	}
	return core.PodTemplateWarnings(field.NewPath("spec", "jobTemplate", "spec", "template"), &new.Spec.JobTemplate.Spec.Template, nil)
}

func indexed(s *batchv1.JobSpec) bool {
	return s.CompletionMode != nil && *s.CompletionMode == batchv1.IndexedCompletion
}

func finished(j *batchv1.Job) bool {
	for _, c := range j.Status.Conditions {
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
			return true
		}
	}
	return false
}

func prepareJobUpdate(n, o *batchv1.Job) {
	n.Status = o.Status
	meta.BumpGeneration(n, o, n.Spec, o.Spec)
}
