package core

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nau/internal/api/meta"
)

const mutablePodFields = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`," +
	"`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"

// validatePodUpdate lets through what may change on a running pod: images, a shorter active deadline,
// more tolerations, a grace period from negative to 1, and scheduling gates that are taken away.
func validatePodUpdate(new, old *corev1.Pod) field.ErrorList {
	if meta.Equal(&new.Spec, &old.Spec) { // judged when it was written; most updates are of labels and annotations
		return validatePodAnnotations(field.NewPath("metadata", "annotations"), new.Annotations, &new.Spec)
	}
	errs := validatePodObject(new, specScope{pod: true, update: true})
	p := field.NewPath("spec")
	if len(new.Spec.Containers) != len(old.Spec.Containers) {
		return append(errs, field.Forbidden(p.Child("containers"), "pod updates may not add or remove containers"))
	}
	if len(new.Spec.InitContainers) != len(old.Spec.InitContainers) {
		return append(errs, field.Forbidden(p.Child("initContainers"), "pod updates may not add or remove containers"))
	}
	errs = append(errs, validateDeadlineChange(p.Child("activeDeadlineSeconds"), new.Spec.ActiveDeadlineSeconds, old.Spec.ActiveDeadlineSeconds)...)
	errs = append(errs, onlyAddedTolerations(p.Child("tolerations"), new.Spec.Tolerations, old.Spec.Tolerations)...)
	gates := sets.New[string]()
	for _, g := range old.Spec.SchedulingGates {
		gates.Insert(g.Name)
	}
	for i, g := range new.Spec.SchedulingGates {
		if !gates.Has(g.Name) {
			errs = append(errs, field.Forbidden(p.Child("schedulingGates").Index(i).Child("name"), fmt.Sprintf("only deletion is allowed, but found new scheduling gate '%s'", g.Name)))
		}
	}

	// Bring everything mutable back to the old state; what then still differs may not change.
	same := new.Spec.DeepCopy()
	for i := range same.Containers {
		same.Containers[i].Image = old.Spec.Containers[i].Image
	}
	for i := range same.InitContainers {
		same.InitContainers[i].Image = old.Spec.InitContainers[i].Image
	}
	same.ActiveDeadlineSeconds = old.Spec.ActiveDeadlineSeconds
	same.Tolerations = old.Spec.Tolerations
	same.SchedulingGates = old.Spec.SchedulingGates
	if g, was := same.TerminationGracePeriodSeconds, old.Spec.TerminationGracePeriodSeconds; was != nil && *was < 0 && g != nil && *g == 1 {
		same.TerminationGracePeriodSeconds = was
	}
	if len(old.Spec.SchedulingGates) > 0 {
		errs = append(errs, narrowedPlacement(p, same, &old.Spec)...)
	}
	if !meta.Equal(same, &old.Spec) {
		errs = append(errs, field.Forbidden(p, fmt.Sprintf("pod updates may not change fields other than %s\n%v", mutablePodFields, diff.Diff(old.Spec, *same))))
	}
	return errs
}

func validateDeadlineChange(p *field.Path, new, old *int64) field.ErrorList {
	switch {
	case new != nil && *new < 0:
		return meta.NonNegative(p, *new)
	case new != nil && old != nil && *new > *old:
		return field.ErrorList{field.Invalid(p, *new, "must be less than or equal to previous value")}
	case new == nil && old != nil:
		return field.ErrorList{field.Invalid(p, new, "must not update from a positive integer to nil value")}
	}
	return nil
}

func onlyAddedTolerations(p *field.Path, new, old []corev1.Toleration) field.ErrorList {
	for _, was := range old {
		found := false
		was.TolerationSeconds = nil
		for _, is := range new {
			is.TolerationSeconds = nil
			if apiequality.Semantic.DeepEqual(was, is) {
				found = true
				break
			}
		}
		if !found {
			return field.ErrorList{field.Forbidden(p, "existing toleration can not be modified except its tolerationSeconds")}
		}
	}
	return nil
}

// narrowedPlacement lets a gated pod's node selector and affinity become stricter (KEP-3838), and sets
// them back in same.
func narrowedPlacement(p *field.Path, same, old *corev1.PodSpec) field.ErrorList {
	var errs field.ErrorList
	narrowed := true
	for k, v := range old.NodeSelector {
		if same.NodeSelector[k] != v {
			narrowed = false
		}
	}
	if !narrowed {
		errs = append(errs, field.Invalid(p.Child("nodeSelector"), same.NodeSelector, "pod node selector is immutable except adding key-value pairs while the pod is gated"))
	}
	same.NodeSelector = old.NodeSelector
	wasRequired := old.Affinity != nil && old.Affinity.NodeAffinity != nil && old.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution != nil
	if wasRequired {
		at := p.Child("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")
		was := old.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
		var is []corev1.NodeSelectorTerm
		if same.Affinity != nil && same.Affinity.NodeAffinity != nil && same.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution != nil {
			is = same.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
		}
		if len(is) != len(was) {
			errs = append(errs, field.Invalid(at, is, "no additions/deletions to non-empty NodeSelectorTerms list are allowed"))
		}
		for i := range min(len(is), len(was)) {
			if !prefixOf(was[i].MatchExpressions, is[i].MatchExpressions) || !prefixOf(was[i].MatchFields, is[i].MatchFields) {
				errs = append(errs, field.Invalid(at.Index(i), is[i], "only additions are allowed (no mutations or deletions)"))
			}
		}
	}
	if same.Affinity != nil || old.Affinity != nil {
		var keep *corev1.NodeAffinity
		if old.Affinity != nil {
			keep = old.Affinity.NodeAffinity
		}
		switch {
		case same.Affinity == nil:
			same.Affinity = old.Affinity
		case old.Affinity == nil && same.Affinity.PodAffinity == nil && same.Affinity.PodAntiAffinity == nil:
			same.Affinity = nil
		default:
			same.Affinity.NodeAffinity = keep
		}
	}
	return errs
}

func prefixOf(was, is []corev1.NodeSelectorRequirement) bool {
	return len(is) >= len(was) && apiequality.Semantic.DeepEqual(was, is[:len(was):len(was)])
}

// validatePodStatusUpdate checks what the node agent and the scheduler write.
func validatePodStatusUpdate(new, old *corev1.Pod) field.ErrorList {
	p := field.NewPath("status")
	var errs field.ErrorList
	if new.Status.NominatedNodeName != "" {
		errs = append(errs, meta.DNSSubdomain(p.Child("nominatedNodeName"), new.Status.NominatedNodeName)...)
	}
	errs = append(errs, validatePodIPs(p.Child("podIPs"), new.Status.PodIPs)...)
	errs = append(errs, noRevival(p.Child("containerStatuses"), new.Status.ContainerStatuses, old.Status.ContainerStatuses, old.Spec.RestartPolicy, old.Spec.Containers)...)
	errs = append(errs, meta.NonNegative(p.Child("observedGeneration"), new.Status.ObservedGeneration)...)
	if old.Status.QOSClass != "" && new.Status.QOSClass != old.Status.QOSClass {
		errs = append(errs, field.Invalid(p.Child("qosClass"), new.Status.QOSClass, "field is immutable"))
	}
	return errs
}

// noRevival: with restart policy Never or OnFailure a container that ended for good stays ended.
func noRevival(p *field.Path, new, old []corev1.ContainerStatus, policy corev1.RestartPolicy, containers []corev1.Container) field.ErrorList {
	if policy == corev1.RestartPolicyAlways {
		return nil
	}
	own := sets.New[string]()
	for _, c := range containers {
		if c.RestartPolicy != nil || len(c.RestartPolicyRules) > 0 {
			own.Insert(c.Name)
		}
	}
	var errs field.ErrorList
	for i, was := range old {
		if was.State.Terminated == nil || own.Has(was.Name) {
			continue
		}
		if was.State.Terminated.ExitCode != 0 && policy == corev1.RestartPolicyOnFailure {
			continue
		}
		for _, is := range new {
			if is.Name == was.Name && is.State.Terminated == nil {
				errs = append(errs, field.Forbidden(p.Index(i).Child("state"), "may not be transitioned to non-terminated state"))
			}
		}
	}
	return errs
}

func validateEphemeralUpdate(new, old *corev1.Pod) field.ErrorList {
	p := field.NewPath("spec", "ephemeralContainers")
	errs := validatePodObject(new, specScope{pod: true, update: true})
	now := map[string]*corev1.EphemeralContainer{}
	for i := range new.Spec.EphemeralContainers {
		now[new.Spec.EphemeralContainers[i].Name] = &new.Spec.EphemeralContainers[i]
	}
	if _, mirror := old.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		errs = append(errs, field.Forbidden(field.NewPath(""), "static pods do not support ephemeral containers"))
	}
	for i := range old.Spec.EphemeralContainers {
		was := &old.Spec.EphemeralContainers[i]
		is, kept := now[was.Name]
		switch {
		case !kept:
			errs = append(errs, field.Forbidden(p, fmt.Sprintf("existing ephemeral containers %q may not be removed\n", was.Name)))
		case !apiequality.Semantic.DeepEqual(is, was):
			errs = append(errs, field.Forbidden(p, fmt.Sprintf("existing ephemeral containers %q may not be changed\n%v", was.Name, diff.Diff(was, is))))
		}
	}
	return errs
}

// validateResize checks the resize subresource (KEP-1287): cpu and memory change, the QoS class does not.
func validateResize(new, old *corev1.Pod) field.ErrorList {
	p := field.NewPath("spec")
	errs := validatePodObject(new, specScope{pod: true, update: true})
	if _, mirror := old.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		errs = append(errs, field.Forbidden(field.NewPath(""), "static pods cannot be resized"))
	}
	if old.Spec.OS != nil && old.Spec.OS.Name == corev1.Windows {
		errs = append(errs, field.Forbidden(field.NewPath(""), "windows pods cannot be resized"))
	}
	if len(new.Spec.Containers) != len(old.Spec.Containers) {
		return append(errs, field.Forbidden(p.Child("containers"), "containers may not be added or removed on resize"))
	}
	if len(new.Spec.InitContainers) != len(old.Spec.InitContainers) {
		return append(errs, field.Forbidden(p.Child("initContainers"), "initContainers may not be added or removed on resize"))
	}
	if is, was := QOSClass(&new.Spec), QOSClass(&old.Spec); is != was {
		errs = append(errs, field.Invalid(p, is, "Pod QOS Class may not change as a result of resizing"))
	}
	for i := range new.Spec.Containers {
		errs = append(errs, resizedResources(p.Child("containers").Index(i), &new.Spec.Containers[i], &old.Spec.Containers[i])...)
	}
	for i := range new.Spec.InitContainers {
		at := p.Child("initContainers").Index(i)
		is, was := &new.Spec.InitContainers[i], &old.Spec.InitContainers[i]
		if !sidecar(was) && !apiequality.Semantic.DeepEqual(is.Resources, was.Resources) {
			errs = append(errs, field.Forbidden(at, "resources for non-sidecar init containers are immutable"))
			continue
		}
		errs = append(errs, resizedResources(at, is, was)...)
	}
	return errs
}

func resizedResources(p *field.Path, new, old *corev1.Container) field.ErrorList {
	var errs field.ErrorList
	if new.Name != old.Name {
		errs = append(errs, field.Forbidden(p.Child("name"), "containers may not be renamed or reordered on resize"))
	}
	if !apiequality.Semantic.DeepEqual(new.ResizePolicy, old.ResizePolicy) {
		errs = append(errs, field.Forbidden(field.NewPath("spec"), "only cpu and memory resources are mutable"))
	}
	for _, part := range []struct {
		name    string
		is, was corev1.ResourceList
	}{{"limits", new.Resources.Limits, old.Resources.Limits}, {"requests", new.Resources.Requests, old.Resources.Requests}} {
		at := p.Child("resources", part.name)
		for _, name := range sortedResources(part.was) {
			was := part.was[name]
			is, kept := part.is[name]
			resizable := name == corev1.ResourceCPU || name == corev1.ResourceMemory
			switch {
			case !kept && resizable && part.name == "limits":
				errs = append(errs, field.Forbidden(at, "resource limits cannot be removed"))
			case !kept && resizable:
				errs = append(errs, field.Forbidden(at, "resource requests cannot be removed"))
			case (!kept || is.Cmp(was) != 0) && !resizable:
				errs = append(errs, field.Forbidden(p.Child("resources"), "only cpu and memory resources are mutable"))
			}
		}
		for _, name := range sortedResources(part.is) {
			if _, had := part.was[name]; !had && name != corev1.ResourceCPU && name != corev1.ResourceMemory {
				errs = append(errs, field.Forbidden(p.Child("resources"), "only cpu and memory resources are mutable"))
			}
		}
	}
	return errs
}

// ValidateBinding checks the body of pods/binding.
func ValidateBinding(b *corev1.Binding) field.ErrorList {
	p := field.NewPath("target")
	var errs field.ErrorList
	if b.Target.Kind != "" && b.Target.Kind != "Node" {
		errs = append(errs, field.NotSupported(p.Child("kind"), b.Target.Kind, []string{"Node", "<empty>"}))
	}
	if strings.TrimSpace(b.Target.Name) == "" {
		errs = append(errs, field.Required(p.Child("name"), ""))
	}
	return errs
}
