package apps

import (
	"fmt"
	"k8s.io/apimachinery/pkg/fields"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"nau/internal/api"
	"nau/internal/api/meta"
)

// replicaSet declares the resource replicasets.
func replicaSet() *api.Resource {
	return &api.Resource{
		Group: "apps",
		Kind:  "ReplicaSet", Plural: "replicasets", Singular: "replicaset",
		ShortNames: []string{"rs"},
		Categories: []string{"all"},
		Namespaced: true,
		Versions:   []api.Version{{Name: "v1", New: api.New[appsv1.ReplicaSet](), NewList: api.New[appsv1.ReplicaSetList](), Default: api.Each(DefaultReplicaSet)}},
		Storage:    "v1",
		Prefix:     "replicasets",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name:           apivalidation.NameIsDNSSubdomain,
			Validate:       api.Check(validateReplicaSet),
			ValidateUpdate: api.CheckChange(validateReplicaSetUpdate),
			Warnings:       api.Warn(replicaSetWarnings),
			PrepareCreate: api.Each(func(n *appsv1.ReplicaSet) {
				n.Status = appsv1.ReplicaSetStatus{}
				n.Generation = 1
			}),
			PrepareUpdate: api.Change(func(n, o *appsv1.ReplicaSet) {
				n.Status = o.Status
				meta.BumpGeneration(n, o, n.Spec, o.Spec)
			}),
			ResetFields:         [][]string{{"status"}},
			UnconditionalUpdate: true,
		},
		Subresources: []api.Subresource{
			{Name: "status", Kind: "ReplicaSet", Verbs: api.StatusVerbs, New: api.New[appsv1.ReplicaSet](),
				PrepareUpdate:  api.Change(func(n, o *appsv1.ReplicaSet) { n.Spec = o.Spec }),
				ValidateUpdate: api.CheckChange(validateReplicaSetStatus),
				ResetFields:    [][]string{{"spec"}}},
			api.ScaleSubresource(replicaSetScale()),
		},
		Columns: replicaSetColumns(),
		Fields:  func(o runtime.Object) fields.Set { return replicaSetFields(o.(*appsv1.ReplicaSet)) },
	}
}

func replicaSetScale() *api.Scale {
	return &api.Scale{
		Get: func(obj runtime.Object) (autoscalingv1.ScaleSpec, autoscalingv1.ScaleStatus, error) {
			o := obj.(*appsv1.ReplicaSet)
			selector, err := metav1.LabelSelectorAsSelector(o.Spec.Selector)
			if err != nil {
				return autoscalingv1.ScaleSpec{}, autoscalingv1.ScaleStatus{}, fmt.Errorf("read selector of replica set %s: %w", o.Name, err)
			}
			return autoscalingv1.ScaleSpec{Replicas: ptr.Deref(o.Spec.Replicas, 0)},
				autoscalingv1.ScaleStatus{Replicas: o.Status.Replicas, Selector: selector.String()}, nil
		},
		Set:  func(obj runtime.Object, replicas int32) { obj.(*appsv1.ReplicaSet).Spec.Replicas = &replicas },
		Path: []string{"spec", "replicas"},
	}
}
