package core

import (
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"nau/internal/api"
	"nau/internal/api/meta"
)

// replicationController declares the resource replicationcontrollers.
func replicationController() *api.Resource {
	return &api.Resource{
		Kind: "ReplicationController", Plural: "replicationcontrollers", Singular: "replicationcontroller",
		ShortNames: []string{"rc"},
		Categories: []string{"all"},
		Namespaced: true,
		Versions:   []api.Version{{Name: "v1", New: api.New[corev1.ReplicationController](), NewList: api.New[corev1.ReplicationControllerList](), Default: api.Each(defaultController)}},
		Storage:    "v1",
		Prefix:     "controllers",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name:            apivalidation.NameIsDNSSubdomain,
			Validate:        api.Check(validateController),
			OrphanByDefault: true,
			PrepareCreate: api.Each(func(n *corev1.ReplicationController) {
				n.Status = corev1.ReplicationControllerStatus{}
				n.Generation = 1
			}),
			PrepareUpdate: api.Change(func(n, o *corev1.ReplicationController) {
				n.Status = o.Status
				meta.BumpGeneration(n, o, n.Spec, o.Spec)
			}),
			ResetFields:         [][]string{{"status"}},
			UnconditionalUpdate: true,
		},
		Subresources: []api.Subresource{
			{Name: "status", Kind: "ReplicationController", Verbs: api.StatusVerbs, New: api.New[corev1.ReplicationController](),
				PrepareUpdate:  api.Change(func(n, o *corev1.ReplicationController) { n.Spec = o.Spec }),
				ValidateUpdate: api.CheckChange(validateControllerStatus),
				ResetFields:    [][]string{{"spec"}}},
			api.ScaleSubresource(replicationControllerScale()),
		},
		Columns: controllerColumns(),
		Fields:  func(o runtime.Object) fields.Set { return controllerFields(o.(*corev1.ReplicationController)) },
	}
}

func replicationControllerScale() *api.Scale {
	return &api.Scale{
		Get: func(obj runtime.Object) (autoscalingv1.ScaleSpec, autoscalingv1.ScaleStatus, error) {
			o := obj.(*corev1.ReplicationController)
			return autoscalingv1.ScaleSpec{Replicas: ptr.Deref(o.Spec.Replicas, 0)},
				autoscalingv1.ScaleStatus{Replicas: o.Status.Replicas, Selector: labels.Set(o.Spec.Selector).String()}, nil
		},
		Set: func(obj runtime.Object, replicas int32) {
			obj.(*corev1.ReplicationController).Spec.Replicas = &replicas
		},
		Path: []string{"spec", "replicas"},
	}
}
