package core

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestWhatAResizeMayChange(t *testing.T) {
	old := corev1.Container{Name: "c", Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{"cpu": resource.MustParse("1"), "ephemeral-storage": resource.MustParse("1")}}}
	for name, c := range map[string]struct {
		change func(*corev1.Container)
		want   []string
	}{
		"a limit":            {func(c *corev1.Container) { c.Resources.Limits["cpu"] = resource.MustParse("2") }, nil},
		"a limit of storage": {func(c *corev1.Container) { c.Resources.Limits["ephemeral-storage"] = resource.MustParse("2") }, []string{"FieldValueForbidden resources"}},
		"no limit":           {func(c *corev1.Container) { delete(c.Resources.Limits, "cpu") }, []string{"FieldValueForbidden resources.limits"}},
		"the policy": {func(c *corev1.Container) {
			c.ResizePolicy = []corev1.ContainerResizePolicy{{ResourceName: corev1.ResourceCPU, RestartPolicy: corev1.RestartContainer}}
		}, []string{"FieldValueForbidden spec"}},
	} {
		t.Run(name, func(t *testing.T) {
			is := old.DeepCopy()
			c.change(is)
			expect(t, resizedResources(nil, is, &old), c.want...)
		})
	}
}
