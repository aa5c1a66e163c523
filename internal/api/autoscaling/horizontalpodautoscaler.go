package autoscaling

import (
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"nau/internal/api"
)

// horizontalPodAutoscaler declares the resource horizontalpodautoscalers.
func horizontalPodAutoscaler() *api.Resource {
	return &api.Resource{
		Group: "autoscaling",
		Kind:  "HorizontalPodAutoscaler", Plural: "horizontalpodautoscalers", Singular: "horizontalpodautoscaler",
		ShortNames: []string{"hpa"},
		Categories: []string{"all"},
		Namespaced: true,
		Versions: []api.Version{
			{Name: "v2", New: api.New[autoscalingv2.HorizontalPodAutoscaler](), NewList: api.New[autoscalingv2.HorizontalPodAutoscalerList](), Default: api.Each(Default)},
			{Name: "v1", New: api.New[autoscalingv1.HorizontalPodAutoscaler](), NewList: api.New[autoscalingv1.HorizontalPodAutoscalerList](),
				Default: api.Each(defaultV1), ToStorage: api.ConvertOrFail(toV2), FromStorage: api.ConvertOrFail(fromV2)},
		},
		Storage: "v2",
		Prefix:  "horizontalpodautoscalers",
		Verbs:   api.AllVerbs,
		Strategy: api.Strategy{
			Name:     apivalidation.NameIsDNSSubdomain,
			Validate: api.Check(validate),
			PrepareCreate: api.Each(func(n *autoscalingv2.HorizontalPodAutoscaler) {
				n.Status = autoscalingv2.HorizontalPodAutoscalerStatus{}
			}),
			PrepareUpdate: api.Change(func(n, o *autoscalingv2.HorizontalPodAutoscaler) {
				n.Status = o.Status
			}),
			ResetFields:         [][]string{{"status"}},
			UnconditionalUpdate: true,
		},
		Subresources: []api.Subresource{
			{Name: "status", Kind: "HorizontalPodAutoscaler", Verbs: api.StatusVerbs, New: api.New[autoscalingv2.HorizontalPodAutoscaler](),
				PrepareUpdate:  api.Change(func(n, o *autoscalingv2.HorizontalPodAutoscaler) { n.Spec = o.Spec }),
				ValidateUpdate: api.CheckChange(validateStatus),
				ResetFields:    [][]string{{"spec"}}},
		},
		Columns: columns(),
	}
}
