package apps

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"nau/internal/api"
)

// statefulSet declares the resource statefulsets.
func statefulSet() *api.Resource {
	return &api.Resource{
		Group: "apps",
		Kind:  "StatefulSet", Plural: "statefulsets", Singular: "statefulset",
		ShortNames: []string{"sts"},
		Categories: []string{"all"},
		Namespaced: true,
		Versions:   []api.Version{{Name: "v1", New: api.New[appsv1.StatefulSet](), NewList: api.New[appsv1.StatefulSetList](), Default: api.Each(DefaultStatefulSet)}},
		Storage:    "v1",
		Prefix:     "statefulsets",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name:           apivalidation.NameIsDNSSubdomain,
			PrepareUpdate:  api.Change(prepareStatefulSetUpdate),
			Validate:       api.Check(validateStatefulSet),
			ValidateUpdate: api.CheckChange(validateStatefulSetUpdate),
			Warnings:       api.Warn(statefulSetWarnings),
			PrepareCreate: api.Each(func(n *appsv1.StatefulSet) {
				n.Status = appsv1.StatefulSetStatus{}
				n.Generation = 1
			}),
			ResetFields:         [][]string{{"status"}},
			UnconditionalUpdate: true,
		},
		Subresources: []api.Subresource{
			{Name: "status", Kind: "StatefulSet", Verbs: api.StatusVerbs, New: api.New[appsv1.StatefulSet](),
				PrepareUpdate:  api.Change(func(n, o *appsv1.StatefulSet) { n.Spec = o.Spec }),
				ValidateUpdate: api.CheckChange(validateStatefulSetStatus),
				ResetFields:    [][]string{{"spec"}}},
			api.ScaleSubresource(statefulSetScale()),
		},
		Columns: statefulSetColumns(),
	}
}

func statefulSetScale() *api.Scale {
	return &api.Scale{
		Get: func(obj runtime.Object) (autoscalingv1.ScaleSpec, autoscalingv1.ScaleStatus, error) {
			o := obj.(*appsv1.StatefulSet)
			selector, err := metav1.LabelSelectorAsSelector(o.Spec.Selector)
			if err != nil {
				return autoscalingv1.ScaleSpec{}, autoscalingv1.ScaleStatus{}, fmt.Errorf("read selector of stateful set %s: %w", o.Name, err)
			}
			return autoscalingv1.ScaleSpec{Replicas: ptr.Deref(o.Spec.Replicas, 0)},
				autoscalingv1.ScaleStatus{Replicas: o.Status.Replicas, Selector: selector.String()}, nil
		},
		Set:  func(obj runtime.Object, replicas int32) { obj.(*appsv1.StatefulSet).Spec.Replicas = &replicas },
		Path: []string{"spec", "replicas"},
	}
}
