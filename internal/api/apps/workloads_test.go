package apps

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"nau/internal/api/scheme"
)

func TestDefaultDeployment(t *testing.T) {
	d := &appsv1.Deployment{}
	DefaultDeployment(d)
	s := d.Spec
	if *s.Replicas != 1 || s.Strategy.Type != appsv1.RollingUpdateDeploymentStrategyType || s.Strategy.RollingUpdate.MaxSurge.StrVal != "25%" ||
		s.Strategy.RollingUpdate.MaxUnavailable.StrVal != "25%" || *s.RevisionHistoryLimit != 10 || *s.ProgressDeadlineSeconds != 600 {
		t.Errorf("got %+v", s)
	}
	recreate := &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Strategy: appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}}}
	if DefaultDeployment(recreate); recreate.Spec.Strategy.RollingUpdate != nil {
		t.Error("a recreating deployment got rolling parameters")
	}
}

func TestDefaultDaemonSet(t *testing.T) {
	d := &appsv1.DaemonSet{}
	DefaultDaemonSet(d)
	r := d.Spec.UpdateStrategy.RollingUpdate
	if r == nil || r.MaxUnavailable.IntVal != 1 || r.MaxSurge.IntVal != 0 || *d.Spec.RevisionHistoryLimit != 10 {
		t.Errorf("got %+v", d.Spec)
	}
}

func TestDaemonSetCountsItsTemplates(t *testing.T) {
	old := &appsv1.DaemonSet{}
	prepareDaemonSet(old)
	same, other := old.DeepCopy(), old.DeepCopy()
	same.Annotations = nil
	other.Spec.Template.Labels = map[string]string{"a": "b"}
	prepareDaemonSetUpdate(same, old)
	prepareDaemonSetUpdate(other, old)
	if a, b := templateGeneration(same), templateGeneration(other); a != 1 || b != 2 || same.Generation != 1 || other.Generation != 2 {
		t.Errorf("template generations %d, %d; generations %d, %d", a, b, same.Generation, other.Generation)
	}
}

func TestDeploymentGeneration(t *testing.T) {
	old := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Generation: 4}, Status: appsv1.DeploymentStatus{Replicas: 3}}
	for name, c := range map[string]struct {
		change func(*appsv1.Deployment)
		want   int64
	}{
		"nothing":    {func(*appsv1.Deployment) {}, 4},
		"label":      {func(d *appsv1.Deployment) { d.Labels = map[string]string{"a": "b"} }, 4},
		"annotation": {func(d *appsv1.Deployment) { d.Annotations = map[string]string{"a": "b"} }, 5},
		"spec":       {func(d *appsv1.Deployment) { d.Spec.Paused = true }, 5},
		"status":     {func(d *appsv1.Deployment) { d.Status.Replicas = 0 }, 4},
	} {
		n := old.DeepCopy()
		c.change(n)
		prepareDeploymentUpdate(n, old)
		if n.Generation != c.want || n.Status.Replicas != 3 {
			t.Errorf("%s: generation %d, replicas %d", name, n.Generation, n.Status.Replicas)
		}
	}
}

func TestAStoredStatefulSetIsTheSame(t *testing.T) {
	s := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Generation: 1}, Spec: appsv1.StatefulSetSpec{
		VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"}}}}}
	DefaultStatefulSet(s)
	raw, err := scheme.EncodeStorage(s, appsv1.SchemeGroupVersion.WithKind("StatefulSet"))
	if err != nil {
		t.Fatal(err)
	}
	read := &appsv1.StatefulSet{}
	if err := scheme.DecodeStorage(raw, read); err != nil {
		t.Fatal(err)
	}
	n := s.DeepCopy()
	prepareStatefulSetUpdate(n, read)
	if n.Generation != 1 {
		t.Error("an update that changes nothing raised the generation")
	}
}

func TestDeploymentScale(t *testing.T) {
	d := &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Replicas: ptr.To(int32(2)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"},
		MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "c", Operator: metav1.LabelSelectorOpExists}}}}, Status: appsv1.DeploymentStatus{Replicas: 1}}
	spec, status, err := deploymentScale().Get(d)
	if err != nil || spec.Replicas != 2 || status.Replicas != 1 || status.Selector != "a=b,c" {
		t.Errorf("got %+v %+v %v", spec, status, err)
	}
	deploymentScale().Set(d, 5)
	if *d.Spec.Replicas != 5 {
		t.Errorf("scaled to %d", *d.Spec.Replicas)
	}
}
