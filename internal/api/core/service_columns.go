package core

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"nau/internal/api"
	"nau/internal/api/column"
)

func serviceColumns() []api.Column {
	doc := corev1.ServiceSpec{}.SwaggerDoc()
	return append([]api.Column{
		column.Name(),
		column.Text("Type", doc["type"], func(s *corev1.Service) string { return string(s.Spec.Type) }),
		column.Text("Cluster-IP", doc["clusterIP"], func(s *corev1.Service) string {
			if len(s.Spec.ClusterIPs) > 0 {
				return column.OrNone(s.Spec.ClusterIPs[0])
			}
			return column.None
		}),
		column.Text("External-IP", doc["externalIPs"], externalIP),
		column.Text("Port(s)", doc["ports"], func(s *corev1.Service) string {
			ports := make([]string, len(s.Spec.Ports))
			for i, p := range s.Spec.Ports {
				ports[i] = fmt.Sprintf("%d/%s", p.Port, p.Protocol)
				if p.NodePort > 0 {
					ports[i] = fmt.Sprintf("%d:%d/%s", p.Port, p.NodePort, p.Protocol)
				}
			}
			return column.Join(ports)
		}),
		column.Age(),
	}, column.Wide(
		column.Text("Selector", doc["selector"], func(s *corev1.Service) string { return column.Labels(s.Spec.Selector) }),
	)...)
}

func externalIP(s *corev1.Service) string {
	switch s.Spec.Type {
	case corev1.ServiceTypeExternalName:
		return s.Spec.ExternalName
	case corev1.ServiceTypeLoadBalancer:
		var all []string
		for _, in := range s.Status.LoadBalancer.Ingress {
			if in.IP != "" {
				all = append(all, in.IP)
			} else if in.Hostname != "" {
				all = append(all, in.Hostname)
			}
		}
		all = append(all, s.Spec.ExternalIPs...)
		if len(all) == 0 {
			return "<pending>"
		}
		return strings.Join(all, ",")
	}
	return column.Join(s.Spec.ExternalIPs)
}
