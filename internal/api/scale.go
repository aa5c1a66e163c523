package api

import (
	autoscalingv1 "k8s.io/api/autoscaling/v1"
)

// ScaleSubresource declares the scale endpoint of a workload: body autoscaling/v1 Scale.
func ScaleSubresource(s *Scale) Subresource {
	return Subresource{
		Name: "scale", Group: "autoscaling", Version: "v1", Kind: "Scale",
		Verbs: StatusVerbs, New: New[autoscalingv1.Scale](), Scale: s,
	}
}
