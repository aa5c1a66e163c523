package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"

	"nau/internal/api"
	"nau/internal/api/column"
)

func configMapColumns() []api.Column {
	return []api.Column{
		column.Name(),
		column.Number("Data", corev1.ConfigMap{}.SwaggerDoc()["data"], func(c *corev1.ConfigMap) int { return len(c.Data) + len(c.BinaryData) }),
		column.Age(),
	}
}

func secretColumns() []api.Column {
	return []api.Column{
		column.Name(),
		column.Text("Type", corev1.Secret{}.SwaggerDoc()["type"], func(s *corev1.Secret) string { return string(s.Type) }),
		column.Number("Data", corev1.Secret{}.SwaggerDoc()["data"], func(s *corev1.Secret) int { return len(s.Data) }),
		column.Age(),
	}
}

func secretFields(s *corev1.Secret) fields.Set { return fields.Set{"type": string(s.Type)} }

func serviceFields(s *corev1.Service) fields.Set {
	return fields.Set{"spec.clusterIP": s.Spec.ClusterIP, "spec.type": string(s.Spec.Type)}
}

func componentStatusColumns() []api.Column {
	healthy := func(c *corev1.ComponentStatus) corev1.ComponentCondition {
		for _, condition := range c.Conditions {
			if condition.Type == corev1.ComponentHealthy {
				return condition
			}
		}
		return corev1.ComponentCondition{}
	}
	return []api.Column{
		column.Name(),
		column.Text("Status", "Status of the component conditions", func(c *corev1.ComponentStatus) string {
			if healthy(c).Status == corev1.ConditionTrue {
				return "Healthy"
			}
			return "Unhealthy"
		}),
		column.Text("Message", "Message of the component conditions", func(c *corev1.ComponentStatus) string { return healthy(c).Message }),
		column.Text("Error", "Error of the component conditions", func(c *corev1.ComponentStatus) string { return healthy(c).Error }),
	}
}
