package scheduler

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	kubetesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/events"
)

func testNode(name string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{
		"cpu": resource.MustParse("1"), "memory": resource.MustParse("1Gi"), "pods": resource.MustParse("2")}}}
}

func testPod(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: types.UID(name)},
		Spec: corev1.PodSpec{SchedulerName: "default-scheduler", Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
}

// start runs a scheduler over a fake API that answers bindings, and gives the
// channel of "pod→node" bindings.
func start(t *testing.T, objects ...runtime.Object) (*fake.Clientset, <-chan string, *events.FakeRecorder) {
	t.Helper()
	client := fake.NewClientset(objects...)
	bound := make(chan string, 100)
	client.PrependReactor("create", "pods", func(action kubetesting.Action) (bool, runtime.Object, error) {
		create, ok := action.(kubetesting.CreateAction)
		if !ok || action.GetSubresource() != "binding" {
			return false, nil, nil
		}
		b := create.GetObject().(*corev1.Binding)
		bound <- b.Name + "→" + b.Target.Name
		return true, nil, nil
	})
	factory := informers.NewSharedInformerFactory(client, 0)
	recorder := events.NewFakeRecorder(100)
	s, err := New(Config{Client: client, Informers: factory, Recorder: recorder})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	factory.Start(ctx.Done())
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		factory.Shutdown()
	})
	return client, bound, recorder
}

func next(t *testing.T, c <-chan string) string {
	t.Helper()
	select {
	case s := <-c:
		return s
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came in 10 s")
		return ""
	}
}

func TestBindsAndSaysSo(t *testing.T) {
	_, bound, recorder := start(t, testNode("a"), testPod("p"))
	if got := next(t, bound); got != "p→a" {
		t.Fatal(got)
	}
	if got := next(t, recorder.Events); got != "Normal Scheduled Successfully assigned default/p to a" {
		t.Fatal(got)
	}
}

func TestAWaitingPodIsBoundWhenANodeComes(t *testing.T) {
	client, bound, recorder := start(t, testPod("p"))
	if got := next(t, recorder.Events); got != "Warning FailedScheduling no nodes available to schedule pods" {
		t.Fatal(got)
	}
	if _, err := client.CoreV1().Nodes().Create(t.Context(), testNode("a"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := next(t, bound); got != "p→a" {
		t.Fatal(got)
	}
}

func TestAssumedPodsCount(t *testing.T) {
	_, bound, recorder := start(t, testNode("a"), testPod("p1"), testPod("p2"), testPod("p3")) // room for two
	next(t, bound)
	next(t, bound)
	for {
		if got := next(t, recorder.Events); strings.Contains(got, "FailedScheduling") {
			if !strings.Contains(got, "0/1 nodes are available: 1 Too many pods. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.") {
				t.Fatal(got)
			}
			return
		}
	}
}

func TestOthersPodsAreLeftAlone(t *testing.T) {
	other := testPod("other")
	other.Spec.SchedulerName = "mine"
	_, bound, _ := start(t, other, testNode("a"), testPod("p"))
	if got := next(t, bound); got != "p→a" {
		t.Fatal(got)
	}
	select {
	case got := <-bound:
		t.Fatalf("bound %s", got)
	default:
	}
}

func TestPreemptsTheLessImportant(t *testing.T) {
	low, high := int32(1), int32(10)
	bound := testPod("low")
	bound.Spec.NodeName, bound.Spec.Priority = "a", &low
	other := testPod("other")
	other.Spec.NodeName, other.Spec.Priority = "a", &high
	urgent := testPod("urgent")
	urgent.Spec.Priority = &high
	client, bindings, recorder := start(t, testNode("a"), bound, other, urgent)
	if got := next(t, bindings); got != "urgent→a" {
		t.Fatal(got)
	}
	if _, err := client.CoreV1().Pods("default").Get(t.Context(), "low", metav1.GetOptions{}); err == nil {
		t.Fatal("the victim is still there")
	}
	var all []string
	for len(recorder.Events) > 0 {
		all = append(all, <-recorder.Events)
	}
	if text := strings.Join(all, "\n"); !strings.Contains(text, "Normal Preempted Preempted by pod urgent on node a") {
		t.Fatalf("events: %s", text)
	}
}
