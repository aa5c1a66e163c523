package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nau/internal/api"
	"nau/internal/api/column"
)

func defaultPodTemplateObject(t *corev1.PodTemplate) { DefaultPodTemplate(&t.Template) }

func validatePodTemplateObject(t *corev1.PodTemplate) field.ErrorList {
	return ValidatePodTemplate(field.NewPath("template"), &t.Template)
}

func podTemplateColumns() []api.Column {
	return []api.Column{
		column.Name(),
		column.Text("Containers", "Names of each container in the template.", func(t *corev1.PodTemplate) string { return ContainerNames(&t.Template.Spec) }),
		column.Text("Images", "Images referenced by each container in the template.", func(t *corev1.PodTemplate) string { return ContainerImages(&t.Template.Spec) }),
		column.Text("Pod Labels", "The labels for the pod template.", func(t *corev1.PodTemplate) string { return column.Labels(t.Template.Labels) }),
	}
}
