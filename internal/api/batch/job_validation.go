package batch

import (
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"nau/internal/api/core"
	"nau/internal/api/meta"
)

const (
	maxParallelIndexed = 100_000
	maxFailedIndexes   = 100_000
	maxFailureRules    = 20
	maxExitCodes       = 255
	maxPodConditions   = 20
	maxManagedBy       = 63
)

func validateJob(j *batchv1.Job) field.ErrorList {
	p := field.NewPath("spec")
	errs := validateGeneratedSelector(j)
	errs = append(errs, validateJobSpec(p, &j.Spec)...)
	if j.Spec.Selector == nil {
		errs = append(errs, field.Required(p.Child("selector"), ""))
	} else {
		errs = append(errs, meta.LabelSelector(p.Child("selector"), j.Spec.Selector)...)
		if s, err := metav1.LabelSelectorAsSelector(j.Spec.Selector); err == nil && !s.Matches(labels.Set(j.Spec.Template.Labels)) {
			errs = append(errs, field.Invalid(p.Child("template", "metadata", "labels"), j.Spec.Template.Labels, "`selector` does not match template `labels`"))
		}
	}
	if indexed(&j.Spec) && j.Spec.Completions != nil && *j.Spec.Completions > 0 {
		// The last index is part of pods' host names.
		host := fmt.Sprintf("%s-%d", j.Name, *j.Spec.Completions-1)
		if messages := validation.IsDNS1123Label(host); len(messages) > 0 {
			errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), j.Name, fmt.Sprintf("will not able to create pod with invalid DNS label as hostname: %s", host)))
		}
	}
	return errs
}

// validateGeneratedSelector: without a manual selector the labels must be the ones that were generated.
func validateGeneratedSelector(j *batchv1.Job) field.ErrorList {
	if ptr.Deref(j.Spec.ManualSelector, false) || j.Spec.Selector == nil {
		return nil
	}
	var errs field.ErrorList
	at := field.NewPath("spec", "template", "metadata", "labels")
	for key, want := range map[string]string{batchv1.ControllerUidLabel: string(j.UID), batchv1.JobNameLabel: j.Name, legacyControllerUID: string(j.UID), legacyJobName: j.Name} {
		if got, ok := j.Spec.Template.Labels[key]; !ok {
			errs = append(errs, field.Required(at.Key(key), fmt.Sprintf("must be '%s'", want)))
		} else if got != want {
			errs = append(errs, field.Invalid(at.Key(key), got, fmt.Sprintf("must be '%s'", want)))
		}
	}
	if len(j.Spec.Selector.MatchExpressions) > 0 || j.Spec.Selector.MatchLabels[batchv1.ControllerUidLabel] != string(j.UID) {
		errs = append(errs, field.Invalid(field.NewPath("spec", "selector"), j.Spec.Selector, "`selector` not auto-generated"))
	}
	return errs
}

func validateJobSpec(p *field.Path, s *batchv1.JobSpec) field.ErrorList {
	errs := meta.NonNegativePtr(p.Child("parallelism"), s.Parallelism)
	errs = append(errs, meta.NonNegativePtr(p.Child("completions"), s.Completions)...)
	errs = append(errs, meta.NonNegativePtr(p.Child("activeDeadlineSeconds"), s.ActiveDeadlineSeconds)...)
	errs = append(errs, meta.NonNegativePtr(p.Child("backoffLimit"), s.BackoffLimit)...)
	errs = append(errs, meta.NonNegativePtr(p.Child("ttlSecondsAfterFinished"), s.TTLSecondsAfterFinished)...)
	errs = append(errs, meta.NonNegativePtr(p.Child("backoffLimitPerIndex"), s.BackoffLimitPerIndex)...)
	errs = append(errs, meta.NonNegativePtr(p.Child("maxFailedIndexes"), s.MaxFailedIndexes)...)
	if s.MaxFailedIndexes != nil && s.BackoffLimitPerIndex == nil {
		errs = append(errs, field.Required(p.Child("backoffLimitPerIndex"), "when maxFailedIndexes is specified"))
	}
	if s.ManagedBy != nil {
		errs = append(errs, meta.Invalid(p.Child("managedBy"), *s.ManagedBy, managedByMessages(*s.ManagedBy))...)
		if len(*s.ManagedBy) > maxManagedBy {
			errs = append(errs, field.TooLong(p.Child("managedBy"), "", maxManagedBy))
		}
	}
	if s.CompletionMode != nil {
		errs = append(errs, meta.OneOf(p.Child("completionMode"), *s.CompletionMode, batchv1.NonIndexedCompletion, batchv1.IndexedCompletion)...)
		if indexed(s) {
			if s.Completions == nil {
				errs = append(errs, field.Required(p.Child("completions"), fmt.Sprintf("when completion mode is %s", batchv1.IndexedCompletion)))
			}
			if s.Parallelism != nil && *s.Parallelism > maxParallelIndexed {
				errs = append(errs, field.Invalid(p.Child("parallelism"), *s.Parallelism, fmt.Sprintf("must be less than or equal to %d when completion mode is %s", maxParallelIndexed, batchv1.IndexedCompletion)))
			}
			if s.Completions != nil && s.MaxFailedIndexes != nil && *s.MaxFailedIndexes > *s.Completions {
				errs = append(errs, field.Invalid(p.Child("maxFailedIndexes"), *s.MaxFailedIndexes, "must be less than or equal to completions"))
			}
			if s.MaxFailedIndexes != nil && *s.MaxFailedIndexes > maxFailedIndexes {
				errs = append(errs, field.Invalid(p.Child("maxFailedIndexes"), *s.MaxFailedIndexes, fmt.Sprintf("must be less than or equal to %d", maxFailedIndexes)))
			}
		}
	}
	if !indexed(s) {
		if s.BackoffLimitPerIndex != nil {
			errs = append(errs, field.Invalid(p.Child("backoffLimitPerIndex"), *s.BackoffLimitPerIndex, "requires indexed completion mode"))
		}
		if s.MaxFailedIndexes != nil {
			errs = append(errs, field.Invalid(p.Child("maxFailedIndexes"), *s.MaxFailedIndexes, "requires indexed completion mode"))
		}
		if s.SuccessPolicy != nil {
			errs = append(errs, field.Invalid(p.Child("successPolicy"), s.SuccessPolicy, "requires indexed completion mode"))
		}
	}
	if s.PodFailurePolicy != nil {
		errs = append(errs, validateFailurePolicy(p.Child("podFailurePolicy"), s)...)
	}
	if s.SuccessPolicy != nil && indexed(s) {
		errs = append(errs, validateSuccessPolicy(p.Child("successPolicy"), s)...)
	}
	if v := s.PodReplacementPolicy; v != nil {
		if s.PodFailurePolicy != nil {
			errs = append(errs, meta.OneOf(p.Child("podReplacementPolicy"), *v, batchv1.Failed)...)
		} else {
			errs = append(errs, meta.OneOf(p.Child("podReplacementPolicy"), *v, batchv1.Failed, batchv1.TerminatingOrFailed)...)
		}
	}
	errs = append(errs, core.ValidatePodTemplate(p.Child("template"), &s.Template)...)
	policy := p.Child("template", "spec", "restartPolicy")
	switch s.Template.Spec.RestartPolicy {
	case corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever:
	default:
		errs = append(errs, field.Required(policy, fmt.Sprintf("valid values: %q, %q", corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)))
	}
	if s.PodFailurePolicy != nil && s.Template.Spec.RestartPolicy != corev1.RestartPolicyNever {
		errs = append(errs, field.Invalid(policy, s.Template.Spec.RestartPolicy, fmt.Sprintf("only %q is supported when podFailurePolicy is specified", corev1.RestartPolicyNever)))
	}
	if s.BackoffLimitPerIndex != nil && s.Template.Spec.RestartPolicy != corev1.RestartPolicyNever {
		errs = append(errs, field.Invalid(policy, s.Template.Spec.RestartPolicy, fmt.Sprintf("when backoffLimitPerIndex is specified only %q is supported", corev1.RestartPolicyNever)))
	}
	return errs
}

func managedByMessages(value string) []string {
	var out []string
	for _, e := range validation.IsDomainPrefixedPath(field.NewPath("x"), value) {
		out = append(out, e.Detail)
	}
	return out
}

func validateFailurePolicy(p *field.Path, s *batchv1.JobSpec) field.ErrorList {
	var errs field.ErrorList
	rules := s.PodFailurePolicy.Rules
	at := p.Child("rules")
	if len(rules) > maxFailureRules {
		errs = append(errs, field.TooMany(at, len(rules), maxFailureRules))
	}
	names := sets.New[string]()
	for _, c := range s.Template.Spec.Containers {
		names.Insert(c.Name)
	}
	for _, c := range s.Template.Spec.InitContainers {
		names.Insert(c.Name)
	}
	for i, r := range rules {
		rp := at.Index(i)
		actions := []batchv1.PodFailurePolicyAction{batchv1.PodFailurePolicyActionCount, batchv1.PodFailurePolicyActionFailJob, batchv1.PodFailurePolicyActionIgnore}
		if s.BackoffLimitPerIndex != nil {
			actions = append(actions, batchv1.PodFailurePolicyActionFailIndex)
		} else if r.Action == batchv1.PodFailurePolicyActionFailIndex {
			errs = append(errs, field.Invalid(rp.Child("action"), r.Action, "requires the backoffLimitPerIndex to be set"))
			actions = append(actions, r.Action)
		}
		errs = append(errs, meta.OneOf(rp.Child("action"), r.Action, actions...)...)
		switch {
		case r.OnExitCodes != nil && len(r.OnPodConditions) > 0:
			errs = append(errs, field.Invalid(rp, field.OmitValueType{}, "specifying both OnExitCodes and OnPodConditions is not supported"))
		case r.OnExitCodes == nil && len(r.OnPodConditions) == 0:
			errs = append(errs, field.Invalid(rp, field.OmitValueType{}, "specifying one of OnExitCodes and OnPodConditions is required"))
		}
		if r.OnExitCodes != nil {
			errs = append(errs, validateExitCodes(rp.Child("onExitCodes"), r.OnExitCodes, names)...)
		}
		if len(r.OnPodConditions) > maxPodConditions {
			errs = append(errs, field.TooMany(rp.Child("onPodConditions"), len(r.OnPodConditions), maxPodConditions))
		}
		for j, c := range r.OnPodConditions {
			cp := rp.Child("onPodConditions").Index(j)
			errs = append(errs, meta.QualifiedName(cp.Child("type"), string(c.Type))...)
			errs = append(errs, meta.OneOf(cp.Child("status"), c.Status, corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown)...)
		}
	}
	return errs
}

func validateExitCodes(p *field.Path, r *batchv1.PodFailurePolicyOnExitCodesRequirement, names sets.Set[string]) field.ErrorList {
	errs := meta.OneOf(p.Child("operator"), r.Operator, batchv1.PodFailurePolicyOnExitCodesOpIn, batchv1.PodFailurePolicyOnExitCodesOpNotIn)
	if r.ContainerName != nil && !names.Has(*r.ContainerName) {
		errs = append(errs, field.Invalid(p.Child("containerName"), *r.ContainerName, "must be one of the container or initContainer names in the pod template"))
	}
	at := p.Child("values")
	switch {
	case len(r.Values) == 0:
		errs = append(errs, field.Invalid(at, r.Values, "at least one value is required"))
	case len(r.Values) > maxExitCodes:
		errs = append(errs, field.TooMany(at, len(r.Values), maxExitCodes))
	}
	seen := sets.New[int32]()
	for i, v := range r.Values {
		if r.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn && v == 0 {
			errs = append(errs, field.Invalid(at.Index(i), v, "must not be 0 for the In operator"))
		}
		if seen.Has(v) {
			errs = append(errs, field.Duplicate(at.Index(i), v))
		}
		seen.Insert(v)
	}
	if !slices.IsSorted(r.Values) {
		errs = append(errs, field.Invalid(at, r.Values, "must be ordered"))
	}
	return errs
}

func validateSuccessPolicy(p *field.Path, s *batchv1.JobSpec) field.ErrorList {
	at := p.Child("rules")
	var errs field.ErrorList
	switch n := len(s.SuccessPolicy.Rules); {
	case n == 0:
		errs = append(errs, field.Required(at, "at least one rules must be specified when the successPolicy is specified"))
	case n > 20:
		errs = append(errs, field.TooMany(at, n, 20))
	}
	for i, r := range s.SuccessPolicy.Rules {
		rp := at.Index(i)
		if r.SucceededCount == nil && r.SucceededIndexes == nil {
			errs = append(errs, field.Required(rp, "at least one of succeededCount or succeededIndexes must be specified"))
		}
		if r.SucceededCount != nil {
			errs = append(errs, meta.NonNegative(rp.Child("succeededCount"), *r.SucceededCount)...)
			if s.Completions != nil && *r.SucceededCount > *s.Completions {
				errs = append(errs, field.Invalid(rp.Child("succeededCount"), *r.SucceededCount, fmt.Sprintf("must be less than or equal to %d (the number of specified completions)", *s.Completions)))
			}
		}
	}
	return errs
}

func validateJobUpdate(new, old *batchv1.Job) field.ErrorList {
	p := field.NewPath("spec")
	errs := validateJob(new)
	elastic := indexed(&old.Spec) && ptr.Deref(new.Spec.Completions, -1) == ptr.Deref(new.Spec.Parallelism, -2)
	if !elastic {
		errs = append(errs, meta.Immutable(p.Child("completions"), new.Spec.Completions, old.Spec.Completions)...)
	}
	errs = append(errs, meta.Immutable(p.Child("selector"), new.Spec.Selector, old.Spec.Selector)...)
	errs = append(errs, meta.Immutable(p.Child("template"), comparableTemplate(new, old), old.Spec.Template)...)
	errs = append(errs, meta.Immutable(p.Child("completionMode"), new.Spec.CompletionMode, old.Spec.CompletionMode)...)
	errs = append(errs, meta.Immutable(p.Child("podFailurePolicy"), new.Spec.PodFailurePolicy, old.Spec.PodFailurePolicy)...)
	errs = append(errs, meta.Immutable(p.Child("backoffLimitPerIndex"), new.Spec.BackoffLimitPerIndex, old.Spec.BackoffLimitPerIndex)...)
	errs = append(errs, meta.Immutable(p.Child("managedBy"), new.Spec.ManagedBy, old.Spec.ManagedBy)...)
	errs = append(errs, meta.Immutable(p.Child("successPolicy"), new.Spec.SuccessPolicy, old.Spec.SuccessPolicy)...)
	return errs
}

// comparableTemplate is the new template with what a suspended job that never started may change brought
// back: where its pods may run (KEP-2926) and what they ask for.
func comparableTemplate(new, old *batchv1.Job) corev1.PodTemplateSpec {
	t := *new.Spec.Template.DeepCopy()
	suspended := ptr.Deref(old.Spec.Suspend, false)
	if !suspended || old.Status.StartTime != nil && old.Status.Active > 0 {
		return t
	}
	was := &old.Spec.Template
	t.Annotations, t.Labels = was.Annotations, was.Labels
	t.Spec.NodeSelector, t.Spec.Tolerations, t.Spec.SchedulingGates = was.Spec.NodeSelector, was.Spec.Tolerations, was.Spec.SchedulingGates
	switch {
	case t.Spec.Affinity == nil && was.Spec.Affinity == nil:
	case was.Spec.Affinity == nil && t.Spec.Affinity.PodAffinity == nil && t.Spec.Affinity.PodAntiAffinity == nil:
		t.Spec.Affinity = nil
	case t.Spec.Affinity != nil && was.Spec.Affinity != nil:
		t.Spec.Affinity.NodeAffinity = was.Spec.Affinity.NodeAffinity
	}
	for i := range min(len(t.Spec.Containers), len(was.Spec.Containers)) {
		t.Spec.Containers[i].Resources = was.Spec.Containers[i].Resources
	}
	return t
}

func validateJobStatus(new, old *batchv1.Job) field.ErrorList {
	p, s := field.NewPath("status"), &new.Status
	errs := meta.NonNegative(p.Child("active"), s.Active)
	errs = append(errs, meta.NonNegative(p.Child("succeeded"), s.Succeeded)...)
	errs = append(errs, meta.NonNegative(p.Child("failed"), s.Failed)...)
	errs = append(errs, meta.NonNegativePtr(p.Child("ready"), s.Ready)...)
	errs = append(errs, meta.NonNegativePtr(p.Child("terminating"), s.Terminating)...)
	if s.Ready != nil && *s.Ready > s.Active {
		errs = append(errs, field.Invalid(p.Child("ready"), *s.Ready, "cannot set more ready pods than active"))
	}
	has := func(kind batchv1.JobConditionType) bool {
		return slices.ContainsFunc(s.Conditions, func(c batchv1.JobCondition) bool { return c.Type == kind && c.Status == corev1.ConditionTrue })
	}
	if has(batchv1.JobComplete) && has(batchv1.JobFailed) {
		errs = append(errs, field.Invalid(p.Child("conditions"), field.OmitValueType{}, "cannot set Complete=True and Failed=true conditions"))
	}
	if has(batchv1.JobComplete) && s.CompletionTime == nil {
		errs = append(errs, field.Required(p.Child("completionTime"), "completionTime is required for Complete jobs"))
	}
	if s.CompletionTime != nil && !has(batchv1.JobComplete) {
		errs = append(errs, field.Invalid(p.Child("completionTime"), s.CompletionTime, "cannot set completionTime when there is no Complete=True condition"))
	}
	if (has(batchv1.JobComplete) || has(batchv1.JobFailed)) && s.Active > 0 {
		errs = append(errs, field.Invalid(p.Child("active"), s.Active, "active>0 is invalid for finished job"))
	}
	if finished(old) && !has(batchv1.JobComplete) && !has(batchv1.JobFailed) {
		errs = append(errs, field.Invalid(p.Child("conditions"), field.OmitValueType{}, "cannot disable a terminal condition"))
	}
	if old.Status.CompletionTime != nil && !apiequality.Semantic.DeepEqual(s.CompletionTime, old.Status.CompletionTime) {
		errs = append(errs, field.Invalid(p.Child("completionTime"), s.CompletionTime, "field is immutable"))
	}
	return errs
}
