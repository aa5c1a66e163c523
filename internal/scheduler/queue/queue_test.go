package queue_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"nau/internal/scheduler/plugin"
	"nau/internal/scheduler/plugins/nodeaffinity"
	"nau/internal/scheduler/queue"
)

var start = time.Unix(1000, 0)

func waiting(name string, priority int32, edit ...func(*corev1.Pod)) *plugin.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)},
		Spec:       corev1.PodSpec{Priority: &priority},
	}
	for _, f := range edit {
		f(pod)
	}
	return plugin.NewPod(pod)
}

func popped(q *queue.Queue, now time.Time) string {
	if item := q.Pop(now); item != nil {
		return item.Pod.Object.Name
	}
	return ""
}

func TestOrderIsPriorityThenAge(t *testing.T) {
	q := queue.New(nil)
	q.Add(waiting("old", 0), start)
	q.Add(waiting("young", 0), start.Add(time.Second))
	q.Add(waiting("urgent", 9), start.Add(2*time.Second))
	for _, want := range []string{"urgent", "old", "young", ""} {
		if got := popped(q, start.Add(time.Minute)); got != want {
			t.Fatalf("popped %q, want %q", got, want)
		}
	}
}

func TestAGatedPodWaitsForItsGates(t *testing.T) {
	q := queue.New(nil)
	q.Add(waiting("p", 0, func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "g"}} }), start)
	if got := popped(q, start); got != "" {
		t.Fatalf("popped gated pod %q", got)
	}
	q.Add(waiting("p", 0), start)
	if got := popped(q, start); got != "p" {
		t.Fatalf("popped %q after the gate opened", got)
	}
}

func TestOnlyAHelpfulEventWakes(t *testing.T) {
	rule := nodeaffinity.New()
	q := queue.New(map[string]queue.Hinter{rule.Name(): rule})
	q.Add(waiting("p", 0, func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"gpu": "yes"} }), start)
	item := q.Pop(start)
	q.Failed(item, []string{rule.Name()}, false, start)

	now := start.Add(time.Minute)
	plain := &plugin.Node{Object: &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "plain"}}}
	if n := q.Event(plugin.Event{Kind: plugin.NodeAdded, Node: plain}, now); n != 0 || popped(q, now) != "" {
		t.Fatalf("a node without the label woke %d pods", n)
	}
	gpu := &plugin.Node{Object: &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "gpu", Labels: map[string]string{"gpu": "yes"}}}}
	if n := q.Event(plugin.Event{Kind: plugin.NodeAdded, Node: gpu}, now); n != 1 || popped(q, now) != "p" {
		t.Fatalf("the node with the label woke %d pods", n)
	}
}

func TestBackoffDoublesToItsLimit(t *testing.T) {
	q := queue.New(nil)
	q.Add(waiting("p", 0), start)
	now := start
	for _, want := range []time.Duration{1, 2, 4, 8, 10, 10} {
		item := q.Pop(now)
		if item == nil {
			t.Fatalf("nothing to pop at %v", now)
		}
		q.Failed(item, nil, true, now)
		due, ok := q.Next()
		if !ok || due.Sub(now) != want*time.Second {
			t.Fatalf("attempt %d: due in %v, want %vs", item.Attempts, due.Sub(now), int(want))
		}
		if got := popped(q, due.Add(-time.Millisecond)); got != "" {
			t.Fatal("popped before its back-off ended")
		}
		now = due
	}
}

// A back-off delays a pod only for the sake of others, or of a failure that may come again.
func TestABackoffIsCutShortWhereNothingElseWaits(t *testing.T) {
	rule := nodeaffinity.New()
	q := queue.New(map[string]queue.Hinter{rule.Name(): rule})
	node := plugin.Event{Kind: plugin.NodeAdded, Node: &plugin.Node{Object: &corev1.Node{}}}
	q.Add(waiting("judged", 9), start)
	q.Failed(q.Pop(start), []string{rule.Name()}, false, start)
	if got := popped(q, start); got != "" {
		t.Fatalf("popped %q, which nothing may help", got)
	}
	if q.Event(node, start) != 1 {
		t.Fatal("the event woke nobody")
	}
	q.Add(waiting("fresh", 0), start)
	for _, want := range []string{"fresh", "judged", ""} {
		if got := popped(q, start); got != want {
			t.Fatalf("popped %q, want %q", got, want)
		}
	}
	q.Remove("judged")
	q.Add(waiting("unlucky", 0), start)
	q.Remove("fresh")
	q.Failed(q.Pop(start), nil, true, start)
	if got := popped(q, start.Add(queue.FirstBackoff-1)); got != "" {
		t.Fatalf("popped %q, whose binding has just failed", got)
	}
	if got := popped(q, start.Add(queue.FirstBackoff)); got != "unlucky" {
		t.Fatalf("popped %q after its back-off", got)
	}
}

func TestAnEventDuringTheAttemptIsNotLost(t *testing.T) {
	q := queue.New(map[string]queue.Hinter{"NodeAffinity": nodeaffinity.New()})
	q.Add(waiting("p", 0), start)
	item := q.Pop(start)
	q.Event(plugin.Event{Kind: plugin.NodeAdded, Node: &plugin.Node{Object: &corev1.Node{}}}, start)
	q.Failed(item, []string{"NodeAffinity"}, false, start)
	if got := popped(q, start.Add(queue.FirstBackoff)); got != "p" {
		t.Fatal("the event that came while the pod was being tried was lost")
	}
}

func TestLeftoversAreTriedAnyway(t *testing.T) {
	q := queue.New(nil)
	q.Add(waiting("p", 0), start)
	q.Failed(q.Pop(start), []string{"X"}, false, start)
	late := start.Add(queue.Leftover)
	q.FlushLeftovers(late)
	if got := popped(q, late); got != "p" {
		t.Fatalf("popped %q after the leftover time", got)
	}
}

func TestRemoveFromEveryPlace(t *testing.T) {
	q := queue.New(nil)
	for _, name := range []string{"ready", "backoff", "stuck"} {
		q.Add(waiting(name, 0), start)
	}
	for range 3 {
		item := q.Pop(start)
		switch item.Pod.Object.Name {
		case "ready":
			q.Failed(item, nil, true, start.Add(-time.Hour))
		case "backoff":
			q.Failed(item, nil, true, start)
		case "stuck":
			q.Failed(item, []string{"X"}, false, start)
		}
	}
	for _, uid := range []types.UID{"ready", "backoff", "stuck"} {
		q.Remove(uid)
	}
	if q.Len() != 0 || popped(q, start.Add(time.Hour)) != "" {
		t.Fatalf("%d pods left", q.Len())
	}
}
