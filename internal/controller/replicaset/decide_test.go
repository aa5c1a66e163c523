package replicaset

import (
	"errors"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

var now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func set(n int32, change ...func(*appsv1.ReplicaSet)) *appsv1.ReplicaSet {
	s := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "web", UID: "set", Generation: 3},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: &n,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}}},
		},
	}
	for _, f := range change {
		f(s)
	}
	return s
}

func deleting(s *appsv1.ReplicaSet) { s.DeletionTimestamp = &metav1.Time{Time: now} }

type edit = func(*corev1.Pod)

func pod(name string, edits ...edit) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "a", Name: name, UID: types.UID(name), Labels: map[string]string{"app": "web"},
			CreationTimestamp: metav1.NewTime(now.Add(-time.Hour)),
		},
		Spec:   corev1.PodSpec{NodeName: "n1"},
		Status: corev1.PodStatus{Phase: corev1.PodRunning},
	}
	readyFor(time.Hour)(p)
	for _, f := range edits {
		f(p)
	}
	return p
}

func readyFor(d time.Duration) edit {
	return func(p *corev1.Pod) {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Add(-d))}}
	}
}
func unready(p *corev1.Pod)         { p.Status.Conditions = nil }
func on(node string) edit           { return func(p *corev1.Pod) { p.Spec.NodeName = node } }
func phase(ph corev1.PodPhase) edit { return func(p *corev1.Pod) { p.Status.Phase = ph } }
func labeled(v string) edit         { return func(p *corev1.Pod) { p.Labels = map[string]string{"app": v} } }
func going(p *corev1.Pod)           { p.DeletionTimestamp = &metav1.Time{Time: now} }
func costs(v string) edit {
	return func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.PodDeletionCost: v} }
}
func restarted(n int32) edit {
	return func(p *corev1.Pod) { p.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: n}} }
}
func aged(d time.Duration) edit {
	return func(p *corev1.Pod) { p.CreationTimestamp = metav1.NewTime(now.Add(-d)) }
}

func names(pods []*corev1.Pod) string {
	s := ""
	for _, p := range pods {
		s += p.Name + " "
	}
	return s
}

func TestDecide(t *testing.T) {
	many := []*corev1.Pod{}
	for i := range 600 {
		many = append(many, pod(fmt.Sprint(i)))
	}
	for _, c := range []struct {
		name  string
		state state
		want  string // create, adopt, release, delete
	}{
		{"nothing yet", state{set: set(3), settled: true}, "3 [] [] []"},
		{"enough", state{set: set(1), owned: []*corev1.Pod{pod("x")}, settled: true}, "0 [] [] []"},
		{"waiting for the caches", state{set: set(3)}, "0 [] [] []"},
		{"a burst at most", state{set: set(2000), settled: true}, "500 [] [] []"},
		{"ended pods do not count", state{set: set(1), owned: []*corev1.Pod{pod("x", phase(corev1.PodFailed)), pod("y", phase(corev1.PodSucceeded)), pod("z", going)}, settled: true}, "1 [] [] []"},
		{"adoption counts", state{set: set(2), owned: []*corev1.Pod{pod("x")}, loose: []*corev1.Pod{pod("y"), pod("other", labeled("db")), pod("ended", phase(corev1.PodFailed)), pod("going", going)}, settled: true}, "0 [y ] [] []"},
		{"release what no longer matches", state{set: set(1), owned: []*corev1.Pod{pod("x", labeled("db"))}, settled: true}, "1 [] [x ] []"},
		{"a set being deleted only watches", state{set: set(3, deleting), loose: []*corev1.Pod{pod("y")}, owned: []*corev1.Pod{pod("x", labeled("db"))}, settled: true}, "0 [] [] []"},
		{"too many", state{set: set(1), owned: []*corev1.Pod{pod("x"), pod("y", unready)}, settled: true}, "0 [] [] [y ]"},
		{"none wanted", state{set: set(0), owned: []*corev1.Pod{pod("x"), pod("y")}, settled: true}, "0 [] [] [x y ]"},
	} {
		p, err := decide(c.state)
		if got := fmt.Sprintf("%d [%s] [%s] [%s]", p.create, names(p.adopt), names(p.release), names(p.delete)); err != nil || got != c.want {
			t.Errorf("%s: %s (%v), want %s", c.name, got, err, c.want)
		}
	}
	p, _ := decide(state{set: set(0), owned: many, settled: true})
	if len(p.delete) != burst {
		t.Errorf("%d deleted at once", len(p.delete))
	}
	bad := set(1)
	bad.Spec.Selector.MatchLabels = map[string]string{"a b": "c"}
	if _, err := decide(state{set: bad}); err == nil {
		t.Error("no error for a bad selector")
	}
}

func TestOrder(t *testing.T) {
	for _, c := range []struct {
		name string
		less []*corev1.Pod // the first is the least wanted
	}{
		{"unassigned", []*corev1.Pod{pod("z", on("")), pod("a")}},
		{"phase", []*corev1.Pod{pod("z", phase(corev1.PodPending)), pod("y", phase(corev1.PodUnknown)), pod("a")}},
		{"ready", []*corev1.Pod{pod("z", unready), pod("a")}},
		{"cost", []*corev1.Pod{pod("z", costs("-5")), pod("y"), pod("a", costs("10"))}},
		{"bad cost", []*corev1.Pod{pod("y", costs("-5")), pod("z", costs("x"))}},
		{"crowd", []*corev1.Pod{pod("z", on("n2")), pod("a", on("n1"))}},
		{"ready time", []*corev1.Pod{pod("z", readyFor(time.Minute)), pod("a", readyFor(time.Hour))}},
		{"restarts", []*corev1.Pod{pod("z", restarted(3)), pod("a", restarted(1))}},
		{"age", []*corev1.Pod{pod("z", aged(time.Minute)), pod("a", aged(time.Hour))}},
	} {
		related := []*corev1.Pod{pod("r1", on("n2")), pod("r2", on("n2")), pod("r3", on("n1"))}
		shuffled := append([]*corev1.Pod{pod("last", costs("100"))}, c.less[1:]...)
		shuffled = append(shuffled, c.less[0])
		got := leastWanted(shuffled, related, len(c.less))
		if names(got) != names(c.less) {
			t.Errorf("%s: %s, want %s", c.name, names(got), names(c.less))
		}
	}
}

func TestDescribe(t *testing.T) {
	s := set(3, func(s *appsv1.ReplicaSet) { s.Spec.MinReadySeconds = 60; s.Spec.Template.Labels["v"] = "2" })
	pods := []*corev1.Pod{
		pod("old"), pod("new", readyFor(20*time.Second)), pod("not", unready), pod("going", going), pod("ended", phase(corev1.PodFailed)),
		pod("labeled", func(p *corev1.Pod) { p.Labels["v"] = "2" }),
	}
	status, again := describe(now, s, pods, "", nil)
	got := fmt.Sprint(status.Replicas, status.FullyLabeledReplicas, status.ReadyReplicas, status.AvailableReplicas, *status.TerminatingReplicas, status.ObservedGeneration, again)
	if got != "4 1 3 2 1 3 40s" {
		t.Error(got)
	}
	s.Status, _ = describe(now, s, nil, "FailedCreate", errors.New("quota"))
	if len(s.Status.Conditions) != 1 || s.Status.Conditions[0].Reason != "FailedCreate" || s.Status.Conditions[0].Message != "quota" {
		t.Errorf("%+v", s.Status.Conditions)
	}
	if status, _ := describe(now, s, nil, "", nil); len(status.Conditions) != 0 {
		t.Errorf("%+v", status.Conditions)
	}
}
