package deployment

import (
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func deployment(n int32, edits ...func(*appsv1.Deployment)) *appsv1.Deployment {
	deadline, limit := int32(600), int32(2)
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "web", UID: "web", Generation: 1, Annotations: map[string]string{"note": "x"}},
		Spec: appsv1.DeploymentSpec{
			Replicas: &n,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			Strategy: appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "v1"}}},
			},
			ProgressDeadlineSeconds: &deadline,
			RevisionHistoryLimit:    &limit,
		},
	}
	for _, f := range edits {
		f(d)
	}
	return d
}

func image(v string) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = v; d.Generation++ }
}
func scaled(n int32) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) { d.Spec.Replicas = &n; d.Generation++ }
}
func recreate(d *appsv1.Deployment) {
	d.Spec.Strategy.Type = appsv1.RecreateDeploymentStrategyType
}
func paused(v bool) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) { d.Spec.Paused = v }
}
func posts(surge, unavailable intstr.IntOrString) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) {
		d.Spec.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{MaxSurge: &surge, MaxUnavailable: &unavailable}
	}
}

// world carries plans out; pods follow at once, unless a set's image is bad.
type world struct {
	t    *testing.T
	now  time.Time
	d    *appsv1.Deployment
	sets []*appsv1.ReplicaSet
	bad  map[string]bool
	log  []string
}

func (w *world) edit(edits ...func(*appsv1.Deployment)) {
	for _, f := range edits {
		f(w.d)
	}
}

func (w *world) step() plan {
	w.now = w.now.Add(time.Second)
	s := state{now: w.now, deployment: w.d.DeepCopy(), running: map[types.UID]bool{}}
	for _, set := range w.sets {
		s.sets = append(s.sets, set.DeepCopy())
		s.running[set.UID] = set.Status.Replicas > 0
	}
	p := decide(s)
	if p.create != nil {
		set := p.create.DeepCopy()
		set.UID, set.CreationTimestamp, set.Generation = types.UID(set.Name), metav1.NewTime(w.now), 1
		w.sets = append(w.sets, set)
	}
	for _, u := range p.update {
		for i, set := range w.sets {
			if set.Name == u.Name {
				w.sets[i] = u.DeepCopy()
			}
		}
	}
	for _, gone := range p.remove {
		for i, set := range w.sets {
			if set.Name == gone.Name {
				w.log = append(w.log, "removed "+w.image(set))
				w.sets = append(w.sets[:i:i], w.sets[i+1:]...)
				break
			}
		}
	}
	if p.revision != "" {
		w.d.Annotations[RevisionAnnotation] = p.revision
	}
	w.d.Status = p.status
	for _, e := range p.events {
		w.log = append(w.log, strings.Replace(strings.Replace(e.message, "replica set web-", "", 1), "Scaled ", "", 1))
	}
	for _, set := range w.sets {
		set.Status.ObservedGeneration = set.Generation
		set.Status.Replicas = setSize(set)
		set.Status.AvailableReplicas = setSize(set)
		if w.bad[w.image(set)] {
			set.Status.AvailableReplicas = 0
		}
		set.Status.ReadyReplicas = set.Status.AvailableReplicas
	}
	return p
}

func (w *world) image(set *appsv1.ReplicaSet) string {
	return set.Spec.Template.Spec.Containers[0].Image
}

// settle steps until nothing changes, and checks the fences at each step.
func (w *world) settle() string {
	w.t.Helper()
	w.log = nil
	surge, unavailable := fenceposts(w.d)
	for range 100 {
		before := len(w.log)
		p := w.step()
		var total, available int32
		for _, set := range w.sets {
			total += setSize(set)
			available += set.Status.AvailableReplicas
		}
		if w.d.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType && total > size(w.d)+surge && !w.d.Spec.Paused {
			w.t.Errorf("%d pods of %d with surge %d", total, size(w.d), surge)
		}
		if len(w.bad) == 0 && len(w.sets) > 1 && w.d.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType && available < size(w.d)-unavailable {
			w.t.Errorf("%d available of %d less %d", available, size(w.d), unavailable)
		}
		if len(w.log) == before && p.create == nil && len(p.update) == 0 && len(p.remove) == 0 {
			if c := w.condition(appsv1.DeploymentProgressing); len(w.bad) > 0 || w.d.Spec.Paused || c == "NewReplicaSetAvailable" {
				break
			}
		}
	}
	var parts []string
	for _, set := range w.sets {
		parts = append(parts, fmt.Sprintf("%s:%d@%s", w.image(set), setSize(set), set.Annotations[RevisionAnnotation]))
	}
	return strings.Join(parts, " ")
}

func (w *world) condition(kind appsv1.DeploymentConditionType) string {
	if c := findCondition(w.d.Status, kind); c != nil {
		return c.Reason
	}
	return ""
}

func TestRollouts(t *testing.T) {
	type stage struct {
		edit []func(*appsv1.Deployment)
		want string
	}
	e := func(f ...func(*appsv1.Deployment)) []func(*appsv1.Deployment) { return f }
	for _, c := range []struct {
		name   string
		d      *appsv1.Deployment
		stages []stage
	}{
		{"update, roll back, history", deployment(10), []stage{
			{nil, "v1:10@1"},
			{e(image("v2")), "v1:0@1 v2:10@2"},
			{e(image("v3")), "v1:0@1 v2:0@2 v3:10@3"},
			{e(image("v1")), "v1:10@4 v2:0@2 v3:0@3"},
			{e(image("v4")), "v3:0@3 v1:0@4 v4:10@5"},
		}},
		{"recreate", deployment(3, recreate), []stage{{nil, "v1:3@1"}, {e(image("v2")), "v1:0@1 v2:3@2"}}},
		{"scale", deployment(3), []stage{{nil, "v1:3@1"}, {e(scaled(30)), "v1:30@1"}, {e(scaled(0)), "v1:0@1"}, {e(scaled(2)), "v1:2@1"}}},
		{"pause", deployment(3), []stage{
			{nil, "v1:3@1"},
			{e(paused(true), image("v2")), "v1:3@1"},
			{e(scaled(5)), "v1:5@1"},
			{e(paused(false)), "v1:0@1 v2:5@2"},
		}},
		{"one at a time", deployment(3, posts(intstr.FromInt32(0), intstr.FromInt32(1))), []stage{{nil, "v1:3@1"}, {e(image("v2")), "v1:0@1 v2:3@2"}}},
		{"all at once", deployment(3, posts(intstr.FromString("100%"), intstr.FromString("100%"))), []stage{{nil, "v1:3@1"}, {e(image("v2")), "v1:0@1 v2:3@2"}}},
		{"neither surge nor unavailable", deployment(3, posts(intstr.FromInt32(0), intstr.FromInt32(0))), []stage{{nil, "v1:3@1"}, {e(image("v2")), "v1:0@1 v2:3@2"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := &world{t: t, now: epoch, d: c.d}
			for i, s := range c.stages {
				w.edit(s.edit...)
				sortSets := w.settle()
				if got := sortSets; !sameParts(got, s.want) {
					t.Fatalf("stage %d: %s, want %s\n%s", i, got, s.want, strings.Join(w.log, "\n"))
				}
				if r := w.condition(appsv1.DeploymentProgressing); !w.d.Spec.Paused && r != "NewReplicaSetAvailable" {
					t.Errorf("stage %d: progressing because of %s", i, r)
				}
			}
		})
	}
}

func sameParts(a, b string) bool {
	x, y := strings.Fields(a), strings.Fields(b)
	if len(x) != len(y) {
		return false
	}
	for _, p := range x {
		if !strings.Contains(" "+b+" ", " "+p+" ") {
			return false
		}
	}
	return true
}

func TestTranscript(t *testing.T) {
	w := &world{t: t, now: epoch, d: deployment(4)}
	w.settle()
	v1 := strings.TrimPrefix(w.sets[0].Name, "web-")
	w.edit(image("v2"))
	w.settle()
	v2 := strings.TrimPrefix(w.sets[1].Name, "web-")
	got := strings.NewReplacer(v1, "v1", v2, "v2").Replace(strings.Join(w.log, "; "))
	want := "up v2 from 0 to 1; down v1 from 4 to 3; up v2 from 1 to 2; down v1 from 3 to 1; up v2 from 2 to 4; down v1 from 1 to 0"
	if got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	set := w.sets[1]
	if set.Annotations["note"] != "x" || set.Annotations[DesiredAnnotation] != "4" || set.Annotations[MaxAnnotation] != "5" {
		t.Errorf("%v", set.Annotations)
	}
	if set.Spec.Selector.MatchLabels["pod-template-hash"] != v2 || set.Labels["pod-template-hash"] != v2 || set.Spec.Template.Labels["pod-template-hash"] != v2 {
		t.Error("the hash is not on the set, its selector and its template")
	}
}

// A bad image stalls within the fences, is told after the deadline, and scaling
// meanwhile is shared in proportion.
func TestStall(t *testing.T) {
	w := &world{t: t, now: epoch, d: deployment(10), bad: map[string]bool{}}
	w.settle()
	w.bad["v2"] = true
	w.edit(image("v2"))
	if got := w.settle(); got != "v1:8@1 v2:5@2" {
		t.Fatal(got)
	}
	if r := w.condition(appsv1.DeploymentProgressing); r != "ReplicaSetUpdated" {
		t.Error(r)
	}
	p := w.step()
	if p.again <= 0 || p.again > 601*time.Second {
		t.Error(p.again)
	}
	w.edit(scaled(20))
	w.step()
	if got := w.settle(); got != "v1:15@1 v2:10@2" {
		t.Error(got)
	}
	w.now = w.now.Add(time.Hour)
	w.step()
	if r := w.condition(appsv1.DeploymentProgressing); r != "ProgressDeadlineExceeded" {
		t.Error(r)
	}
	if r := w.condition(appsv1.DeploymentAvailable); r != "MinimumReplicasAvailable" {
		t.Error(r)
	}
	w.sets[1].Status.Conditions = []appsv1.ReplicaSetCondition{{Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate", Message: "quota"}}
	w.step()
	if r := w.condition(appsv1.DeploymentReplicaFailure); r != "FailedCreate" {
		t.Error(r)
	}
}

func TestCollision(t *testing.T) {
	d := deployment(1)
	one := int32(1)
	a, b := templateHash(&d.Spec.Template, nil), templateHash(&d.Spec.Template, &one)
	if a == b || a == "" {
		t.Error(a, b)
	}
	same := d.Spec.Template.DeepCopy()
	same.Labels["pod-template-hash"] = "x"
	if !sameTemplate(&d.Spec.Template, same) {
		t.Error("the hash's own label counts")
	}
}

func TestDeleting(t *testing.T) {
	d := deployment(3)
	d.DeletionTimestamp = &metav1.Time{Time: epoch}
	if p := decide(state{now: epoch, deployment: d}); p.create != nil || len(p.update) > 0 || p.status.ObservedGeneration != 1 {
		t.Errorf("%+v", p)
	}
}
