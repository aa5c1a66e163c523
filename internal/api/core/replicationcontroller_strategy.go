package core

import (
	"maps"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"nau/internal/api"
	"nau/internal/api/column"
	"nau/internal/api/meta"
)

// defaultController: one replica; selector and labels come from the template.
func defaultController(c *corev1.ReplicationController) {
	if c.Spec.Template != nil {
		DefaultPodTemplate(c.Spec.Template)
		if l := c.Spec.Template.Labels; len(l) > 0 {
			if len(c.Spec.Selector) == 0 {
				c.Spec.Selector = maps.Clone(l)
			}
			if len(c.Labels) == 0 {
				c.Labels = maps.Clone(l)
			}
		}
	}
	if c.Spec.Replicas == nil {
		c.Spec.Replicas = ptr.To(int32(1))
	}
}

func validateController(c *corev1.ReplicationController) field.ErrorList {
	p := field.NewPath("spec")
	errs := meta.NonNegative(p.Child("minReadySeconds"), c.Spec.MinReadySeconds)
	errs = append(errs, meta.NonNegativePtr(p.Child("replicas"), c.Spec.Replicas)...)
	if len(c.Spec.Selector) == 0 {
		errs = append(errs, field.Required(p.Child("selector"), ""))
	}
	t, at := c.Spec.Template, p.Child("template")
	if t == nil {
		return append(errs, field.Required(at, ""))
	}
	if len(c.Spec.Selector) > 0 && !labels.SelectorFromSet(c.Spec.Selector).Matches(labels.Set(t.Labels)) {
		errs = append(errs, field.Invalid(at.Child("metadata", "labels"), t.Labels, "`selector` does not match template `labels`"))
	}
	errs = append(errs, ValidatePodTemplate(at, t)...)
	return append(errs, OnlyAlways(at, t)...)
}

// OnlyAlways: pods of workloads that run for ever restart for ever.
func OnlyAlways(p *field.Path, t *corev1.PodTemplateSpec) field.ErrorList {
	var errs field.ErrorList
	if v := t.Spec.RestartPolicy; v != "" && v != corev1.RestartPolicyAlways {
		errs = append(errs, field.NotSupported(p.Child("spec", "restartPolicy"), v, []corev1.RestartPolicy{corev1.RestartPolicyAlways}))
	}
	if t.Spec.ActiveDeadlineSeconds != nil {
		errs = append(errs, field.Forbidden(p.Child("spec", "activeDeadlineSeconds"), "activeDeadlineSeconds in ReplicaSet is not Supported"))
	}
	return errs
}

func validateControllerStatus(new, _ *corev1.ReplicationController) field.ErrorList {
	s := new.Status
	return ReplicaCounts(field.NewPath("status"), s.Replicas, s.FullyLabeledReplicas, s.ReadyReplicas, s.AvailableReplicas, s.ObservedGeneration)
}

// ReplicaCounts checks the counts of a workload's status against each other.
func ReplicaCounts(p *field.Path, total, labelled, ready, available int32, generation int64) field.ErrorList {
	errs := meta.NonNegative(p.Child("replicas"), total)
	errs = append(errs, meta.NonNegative(p.Child("fullyLabeledReplicas"), labelled)...)
	errs = append(errs, meta.NonNegative(p.Child("readyReplicas"), ready)...)
	errs = append(errs, meta.NonNegative(p.Child("availableReplicas"), available)...)
	errs = append(errs, meta.NonNegative(p.Child("observedGeneration"), generation)...)
	const tooMany = "cannot be greater than status.replicas"
	if labelled > total {
		errs = append(errs, field.Invalid(p.Child("fullyLabeledReplicas"), labelled, tooMany))
	}
	if ready > total {
		errs = append(errs, field.Invalid(p.Child("readyReplicas"), ready, tooMany))
	}
	if available > total {
		errs = append(errs, field.Invalid(p.Child("availableReplicas"), available, tooMany))
	}
	if available > ready {
		errs = append(errs, field.Invalid(p.Child("availableReplicas"), available, "cannot be greater than readyReplicas"))
	}
	return errs
}

func controllerColumns() []api.Column {
	return append([]api.Column{
		column.Name(),
		column.Number("Desired", corev1.ReplicationControllerSpec{}.SwaggerDoc()["replicas"], func(c *corev1.ReplicationController) int32 { return ptr.Deref(c.Spec.Replicas, 0) }),
		column.Number("Current", corev1.ReplicationControllerStatus{}.SwaggerDoc()["replicas"], func(c *corev1.ReplicationController) int32 { return c.Status.Replicas }),
		column.Number("Ready", corev1.ReplicationControllerStatus{}.SwaggerDoc()["readyReplicas"], func(c *corev1.ReplicationController) int32 { return c.Status.ReadyReplicas }),
		column.Age(),
	}, column.Wide(
		column.Text("Containers", "Names of each container in the template.", func(c *corev1.ReplicationController) string {
			if c.Spec.Template == nil {
				return ""
			}
			return ContainerNames(&c.Spec.Template.Spec)
		}),
		column.Text("Images", "Images referenced by each container in the template.", func(c *corev1.ReplicationController) string {
			if c.Spec.Template == nil {
				return ""
			}
			return ContainerImages(&c.Spec.Template.Spec)
		}),
		column.Text("Selector", corev1.ReplicationControllerSpec{}.SwaggerDoc()["selector"], func(c *corev1.ReplicationController) string { return column.Labels(c.Spec.Selector) }),
	)...)
}

// ContainerNames lists a template's containers for the wide tables.
func ContainerNames(s *corev1.PodSpec) string {
	var names []string
	for _, c := range s.Containers {
		names = append(names, c.Name)
	}
	return column.Join(names)
}

// ContainerImages lists a template's images for the wide tables.
func ContainerImages(s *corev1.PodSpec) string {
	var images []string
	for _, c := range s.Containers {
		images = append(images, c.Image)
	}
	return column.Join(images)
}

func controllerFields(c *corev1.ReplicationController) fields.Set {
	return fields.Set{"status.replicas": strconv.Itoa(int(c.Status.Replicas))}
}
