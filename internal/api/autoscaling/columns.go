package autoscaling

import (
	"fmt"
	"strings"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	"nau/internal/api"
	"nau/internal/api/column"
)

func columns() []api.Column {
	spec := autoscalingv2.HorizontalPodAutoscalerSpec{}.SwaggerDoc()
	return []api.Column{
		column.Name(),
		column.Text("Reference", spec["scaleTargetRef"], func(h *autoscalingv2.HorizontalPodAutoscaler) string {
			return h.Spec.ScaleTargetRef.Kind + "/" + h.Spec.ScaleTargetRef.Name
		}),
		column.Text("Targets", spec["metrics"], func(h *autoscalingv2.HorizontalPodAutoscaler) string {
			return targets(h.Spec.Metrics, h.Status.CurrentMetrics)
		}),
		column.Text("MinPods", spec["minReplicas"], func(h *autoscalingv2.HorizontalPodAutoscaler) string {
			if h.Spec.MinReplicas == nil {
				return column.Unset
			}
			return fmt.Sprint(*h.Spec.MinReplicas)
		}),
		column.Number("MaxPods", spec["maxReplicas"], func(h *autoscalingv2.HorizontalPodAutoscaler) int32 { return h.Spec.MaxReplicas }),
		column.Number("Replicas", autoscalingv2.HorizontalPodAutoscalerStatus{}.SwaggerDoc()["currentReplicas"], func(h *autoscalingv2.HorizontalPodAutoscaler) int32 {
			return h.Status.CurrentReplicas
		}),
		column.Age(),
	}
}

// targets prints "cpu: 12%/80%" for up to two metrics and counts the rest.
func targets(specs []autoscalingv2.MetricSpec, statuses []autoscalingv2.MetricStatus) string {
	if len(specs) == 0 {
		return column.None
	}
	const most = 2
	var list []string
	for i, s := range specs {
		var current *autoscalingv2.MetricValueStatus
		if i < len(statuses) {
			current = currentOf(s.Type, statuses[i])
		}
		switch {
		case s.Type == autoscalingv2.ExternalMetricSourceType && s.External != nil:
			list = append(list, pair("", current, s.External.Target, " (avg)"))
		case s.Type == autoscalingv2.PodsMetricSourceType && s.Pods != nil:
			list = append(list, pair("", current, s.Pods.Target, ""))
		case s.Type == autoscalingv2.ObjectMetricSourceType && s.Object != nil:
			list = append(list, pair("", current, s.Object.Target, " (avg)"))
		case s.Type == autoscalingv2.ResourceMetricSourceType && s.Resource != nil:
			list = append(list, pair(string(s.Resource.Name)+": ", current, s.Resource.Target, ""))
		case s.Type == autoscalingv2.ContainerResourceMetricSourceType && s.ContainerResource != nil:
			list = append(list, pair(string(s.ContainerResource.Name)+": ", current, s.ContainerResource.Target, ""))
		default:
			list = append(list, "<unknown type>")
		}
	}
	if len(list) > most {
		return fmt.Sprintf("%s + %d more...", strings.Join(list[:most], ", "), len(list)-most)
	}
	return strings.Join(list, ", ")
}

func currentOf(kind autoscalingv2.MetricSourceType, s autoscalingv2.MetricStatus) *autoscalingv2.MetricValueStatus {
	switch {
	case kind == autoscalingv2.ExternalMetricSourceType && s.External != nil:
		return &s.External.Current
	case kind == autoscalingv2.PodsMetricSourceType && s.Pods != nil:
		return &s.Pods.Current
	case kind == autoscalingv2.ObjectMetricSourceType && s.Object != nil:
		return &s.Object.Current
	case kind == autoscalingv2.ResourceMetricSourceType && s.Resource != nil:
		return &s.Resource.Current
	case kind == autoscalingv2.ContainerResourceMetricSourceType && s.ContainerResource != nil:
		return &s.ContainerResource.Current
	}
	return nil
}

func pair(prefix string, current *autoscalingv2.MetricValueStatus, t autoscalingv2.MetricTarget, average string) string {
	now := column.Unknown
	switch {
	case t.AverageUtilization != nil:
		if current != nil && current.AverageUtilization != nil {
			now = fmt.Sprintf("%d%%", *current.AverageUtilization)
		}
		return fmt.Sprintf("%s%s/%d%%", prefix, now, *t.AverageUtilization)
	case t.AverageValue != nil:
		if current != nil && current.AverageValue != nil {
			now = current.AverageValue.String()
		}
		return fmt.Sprintf("%s%s/%s%s", prefix, now, t.AverageValue.String(), average)
	}
	if current != nil && current.Value != nil {
		now = current.Value.String()
	}
	target := ptr.Deref(t.Value, resource.Quantity{})
	return fmt.Sprintf("%s%s/%s", prefix, now, target.String())
}
