package apps

import (
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"nau/internal/api"
	"nau/internal/api/column"
	"nau/internal/api/core"
)

// templateColumns are the wide columns of everything that holds a pod template.
func templateColumns[T runtime.Object](spec func(T) *corev1.PodSpec) []api.Column {
	return column.Wide(
		column.Text("Containers", "Names of each container in the template.", func(o T) string { return core.ContainerNames(spec(o)) }),
		column.Text("Images", "Images referenced by each container in the template.", func(o T) string { return core.ContainerImages(spec(o)) }),
	)
}

func selectorColumn[T runtime.Object](doc string, selector func(T) *metav1.LabelSelector) api.Column {
	return column.Wide(column.Text("Selector", doc, func(o T) string { return column.Selector(selector(o)) }))[0]
}

func deploymentColumns() []api.Column {
	spec, status := appsv1.DeploymentSpec{}.SwaggerDoc(), appsv1.DeploymentStatus{}.SwaggerDoc()
	columns := []api.Column{
		column.Name(),
		column.Text("Ready", "Number of the pod with ready state", func(d *appsv1.Deployment) string {
			return fmt.Sprintf("%d/%d", d.Status.ReadyReplicas, ptr.Deref(d.Spec.Replicas, 0))
		}),
		column.Number("Up-to-date", status["updatedReplicas"], func(d *appsv1.Deployment) int32 { return d.Status.UpdatedReplicas }),
		column.Number("Available", status["availableReplicas"], func(d *appsv1.Deployment) int32 { return d.Status.AvailableReplicas }),
		column.Age(),
	}
	columns = append(columns, templateColumns(func(d *appsv1.Deployment) *corev1.PodSpec { return &d.Spec.Template.Spec })...)
	return append(columns, selectorColumn(spec["selector"], func(d *appsv1.Deployment) *metav1.LabelSelector { return d.Spec.Selector }))
}

func replicaSetColumns() []api.Column {
	spec, status := appsv1.ReplicaSetSpec{}.SwaggerDoc(), appsv1.ReplicaSetStatus{}.SwaggerDoc()
	columns := []api.Column{
		column.Name(),
		column.Number("Desired", spec["replicas"], func(r *appsv1.ReplicaSet) int32 { return ptr.Deref(r.Spec.Replicas, 0) }),
		column.Number("Current", status["replicas"], func(r *appsv1.ReplicaSet) int32 { return r.Status.Replicas }),
		column.Number("Ready", status["readyReplicas"], func(r *appsv1.ReplicaSet) int32 { return r.Status.ReadyReplicas }),
		column.Age(),
	}
	columns = append(columns, templateColumns(func(r *appsv1.ReplicaSet) *corev1.PodSpec { return &r.Spec.Template.Spec })...)
	return append(columns, selectorColumn(spec["selector"], func(r *appsv1.ReplicaSet) *metav1.LabelSelector { return r.Spec.Selector }))
}

func daemonSetColumns() []api.Column {
	spec, status := appsv1.DaemonSetSpec{}.SwaggerDoc(), appsv1.DaemonSetStatus{}.SwaggerDoc()
	columns := []api.Column{
		column.Name(),
		column.Number("Desired", status["desiredNumberScheduled"], func(d *appsv1.DaemonSet) int32 { return d.Status.DesiredNumberScheduled }),
		column.Number("Current", status["currentNumberScheduled"], func(d *appsv1.DaemonSet) int32 { return d.Status.CurrentNumberScheduled }),
		column.Number("Ready", status["numberReady"], func(d *appsv1.DaemonSet) int32 { return d.Status.NumberReady }),
		column.Number("Up-to-date", status["updatedNumberScheduled"], func(d *appsv1.DaemonSet) int32 { return d.Status.UpdatedNumberScheduled }),
		column.Number("Available", status["numberAvailable"], func(d *appsv1.DaemonSet) int32 { return d.Status.NumberAvailable }),
		column.Text("Node Selector", corev1.PodSpec{}.SwaggerDoc()["nodeSelector"], func(d *appsv1.DaemonSet) string { return column.Labels(d.Spec.Template.Spec.NodeSelector) }),
		column.Age(),
	}
	columns = append(columns, templateColumns(func(d *appsv1.DaemonSet) *corev1.PodSpec { return &d.Spec.Template.Spec })...)
	return append(columns, selectorColumn(spec["selector"], func(d *appsv1.DaemonSet) *metav1.LabelSelector { return d.Spec.Selector }))
}

func statefulSetColumns() []api.Column {
	columns := []api.Column{
		column.Name(),
		column.Text("Ready", "Number of the pod with ready state", func(s *appsv1.StatefulSet) string {
			return fmt.Sprintf("%d/%d", s.Status.ReadyReplicas, ptr.Deref(s.Spec.Replicas, 0))
		}),
		column.Age(),
	}
	return append(columns, templateColumns(func(s *appsv1.StatefulSet) *corev1.PodSpec { return &s.Spec.Template.Spec })...)
}

func revisionColumns() []api.Column {
	return []api.Column{
		column.Name(),
		column.Text("Controller", "Controller of the object", func(r *appsv1.ControllerRevision) string {
			ref := metav1.GetControllerOf(r)
			if ref == nil {
				return column.None
			}
			gv, err := schema.ParseGroupVersion(ref.APIVersion)
			if err != nil {
				return column.None
			}
			kind := gv.WithKind(ref.Kind).GroupKind()
			return fmt.Sprintf("%s/%s", lowerGroupKind(kind), ref.Name)
		}),
		column.Number("Revision", appsv1.ControllerRevision{}.SwaggerDoc()["revision"], func(r *appsv1.ControllerRevision) int64 { return r.Revision }),
		column.Age(),
	}
}

// lowerGroupKind prints "deployment.apps", and "pod" for the core group.
func lowerGroupKind(k schema.GroupKind) string {
	kind := strings.ToLower(k.Kind)
	if k.Group == "" {
		return kind
	}
	return kind + "." + k.Group
}
