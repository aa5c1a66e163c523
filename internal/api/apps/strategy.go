package apps

import (
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nau/internal/api/core"
	"nau/internal/api/meta"
)

// prepareDeploymentUpdate also counts changes of annotations: the controller copies them.
func prepareDeploymentUpdate(n, o *appsv1.Deployment) {
	n.Status = o.Status
	meta.BumpGeneration(n, o, n.Spec, o.Spec)
	if n.Generation == o.Generation && !apiequality.Semantic.DeepEqual(n.Annotations, o.Annotations) {
		n.Generation++
	}
}

func prepareDeploymentStatus(n, o *appsv1.Deployment) {
	n.Spec, n.Labels = o.Spec, o.Labels
}

func prepareDaemonSet(n *appsv1.DaemonSet) {
	n.Status = appsv1.DaemonSetStatus{}
	n.Generation = 1
	setTemplateGeneration(n, 1)
}

// prepareDaemonSetUpdate keeps the template's own generation, which v1 carries in an annotation.
func prepareDaemonSetUpdate(n, o *appsv1.DaemonSet) {
	n.Status = o.Status
	meta.BumpGeneration(n, o, n.Spec, o.Spec)
	generation := templateGeneration(o)
	if !apiequality.Semantic.DeepEqual(n.Spec.Template, o.Spec.Template) {
		generation++
	}
	setTemplateGeneration(n, generation)
}

func templateGeneration(d *appsv1.DaemonSet) int64 {
	n, err := strconv.ParseInt(d.Annotations[appsv1.DeprecatedTemplateGeneration], 10, 64)
	if err != nil {
		return 1
	}
	return n
}

func setTemplateGeneration(d *appsv1.DaemonSet, n int64) {
	if d.Annotations == nil {
		d.Annotations = map[string]string{}
	}
	d.Annotations[appsv1.DeprecatedTemplateGeneration] = strconv.FormatInt(n, 10)
}

// withClaimVolumes is the template with a volume for every claim template, as its pods will have.
func withClaimVolumes(s *appsv1.StatefulSet) *corev1.PodTemplateSpec {
	if len(s.Spec.VolumeClaimTemplates) == 0 {
		return &s.Spec.Template
	}
	t := s.Spec.Template.DeepCopy()
	for _, c := range s.Spec.VolumeClaimTemplates {
		source := corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: c.Name}}
		t.Spec.Volumes = slices.DeleteFunc(t.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == c.Name })
		t.Spec.Volumes = append(t.Spec.Volumes, corev1.Volume{Name: c.Name, VolumeSource: source})
	}
	return t
}

func prepareStatefulSetUpdate(n, o *appsv1.StatefulSet) {
	n.Status = o.Status
	meta.BumpGeneration(n, o, n.Spec, defaulted(o).Spec)
}

// defaulted is a copy with defaults: protobuf drops the claim templates' kind, so that what was read
// from the store could seem to differ from what a client sends.
func defaulted(s *appsv1.StatefulSet) *appsv1.StatefulSet {
	s = s.DeepCopy()
	DefaultStatefulSet(s)
	return s
}

func replicaSetFields(r *appsv1.ReplicaSet) fields.Set {
	return fields.Set{"status.replicas": strconv.Itoa(int(r.Status.Replicas))}
}

func templateWarnings(new, old *corev1.PodTemplateSpec) []string {
	if old != nil && apiequality.Semantic.DeepEqual(new, old) {
		return nil
	}
	return core.PodTemplateWarnings(field.NewPath("spec", "template"), new, nil)
}

func deploymentWarnings(new, old *appsv1.Deployment) []string {
	if old == nil {
		return templateWarnings(&new.Spec.Template, nil)
	}
	return templateWarnings(&new.Spec.Template, &old.Spec.Template)
}

func replicaSetWarnings(new, old *appsv1.ReplicaSet) []string {
	if old == nil {
		return templateWarnings(&new.Spec.Template, nil)
	}
	return templateWarnings(&new.Spec.Template, &old.Spec.Template)
}

func daemonSetWarnings(new, old *appsv1.DaemonSet) []string {
	if old == nil {
		return templateWarnings(&new.Spec.Template, nil)
	}
	return templateWarnings(&new.Spec.Template, &old.Spec.Template)
}

func statefulSetWarnings(new, old *appsv1.StatefulSet) []string {
	if old == nil {
		return templateWarnings(&new.Spec.Template, nil)
	}
	return templateWarnings(&new.Spec.Template, &old.Spec.Template)
}
