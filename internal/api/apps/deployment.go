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

// deployment declares the resource deployments.
func deployment() *api.Resource {
	return &api.Resource{
		Group: "apps",
		Kind:  "Deployment", Plural: "deployments", Singular: "deployment",
		ShortNames: []string{"deploy"},
		Categories: []string{"all"},
		Namespaced: true,
		Versions:   []api.Version{{Name: "v1", New: api.New[appsv1.Deployment](), NewList: api.New[appsv1.DeploymentList](), Default: api.Each(DefaultDeployment)}},
		Storage:    "v1",
		Prefix:     "deployments",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name:           apivalidation.NameIsDNSSubdomain,
			PrepareUpdate:  api.Change(prepareDeploymentUpdate),
			Validate:       api.Check(validateDeployment),
			ValidateUpdate: api.CheckChange(validateDeploymentUpdate),
			Warnings:       api.Warn(deploymentWarnings),
			PrepareCreate: api.Each(func(n *appsv1.Deployment) {
				n.Status = appsv1.DeploymentStatus{}
				n.Generation = 1
			}),
			ResetFields:         [][]string{{"status"}},
			UnconditionalUpdate: true,
		},
		Subresources: []api.Subresource{
			{Name: "status", Kind: "Deployment", Verbs: api.StatusVerbs, New: api.New[appsv1.Deployment](),
				PrepareUpdate:  api.Change(prepareDeploymentStatus),
				ValidateUpdate: api.CheckChange(validateDeploymentStatus),
				ResetFields:    [][]string{{"spec"}, {"metadata", "labels"}}},
			api.ScaleSubresource(deploymentScale()),
		},
		Columns: deploymentColumns(),
	}
}

func deploymentScale() *api.Scale {
	return &api.Scale{
		Get: func(obj runtime.Object) (autoscalingv1.ScaleSpec, autoscalingv1.ScaleStatus, error) {
			o := obj.(*appsv1.Deployment)
			selector, err := metav1.LabelSelectorAsSelector(o.Spec.Selector)
			if err != nil {
				return autoscalingv1.ScaleSpec{}, autoscalingv1.ScaleStatus{}, fmt.Errorf("read selector of deployment %s: %w", o.Name, err)
			}
			return autoscalingv1.ScaleSpec{Replicas: ptr.Deref(o.Spec.Replicas, 0)},
				autoscalingv1.ScaleStatus{Replicas: o.Status.Replicas, Selector: selector.String()}, nil
		},
		Set:  func(obj runtime.Object, replicas int32) { obj.(*appsv1.Deployment).Spec.Replicas = &replicas },
		Path: []string{"spec", "replicas"},
	}
}
