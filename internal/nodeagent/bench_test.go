package nodeagent

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clientgotesting "k8s.io/client-go/testing"

	"nau/internal/nodeagent/fakecri"
)

// benchAgent is an agent, its API server, and a channel that tells the name of each pod whose status becomes Running.
func benchAgent(b *testing.B, objects int) (*Agent, *fake.Clientset, <-chan string) {
	b.Helper()
	running := make(chan string, objects)
	rt, client := fakecri.New(fakecri.Options{}), fake.NewClientset()
	told := map[string]bool{} // under the client's lock
	client.PrependReactor("update", "pods", func(x clientgotesting.Action) (bool, apiruntime.Object, error) {
		if p := x.(clientgotesting.UpdateAction).GetObject().(*corev1.Pod); x.GetSubresource() == "status" && p.Status.Phase == corev1.PodRunning && !told[p.Name] {
			told[p.Name] = true
			running <- p.Name
		}
		return false, nil, nil
	})
	a, err := New(Config{NodeName: "n1", NodeIPs: []net.IP{net.ParseIP("192.0.2.1")}, Client: client, Runtime: rt, Images: rt, Listen: "-", Simulated: true, MaxPods: int64(objects),
		Capacity: corev1.ResourceList{"cpu": resource.MustParse("4"), "memory": resource.MustParse("8Gi")}, Recorder: recorder{&stage{}}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = a.Run(ctx) }()
	b.Cleanup(func() { cancel(); <-done })
	<-a.ready
	return a, client, running
}

func benchPod(i int) *corev1.Pod {
	p := pod(fmt.Sprintf("p%d", i), "c")
	p.Namespace, p.UID, p.Spec.NodeName, p.Generation = "default", types.UID(fmt.Sprintf("uid-%d", i)), "n1", 1
	return p
}

// BenchmarkPodStart is the agent's own share of a start: from the pod's arrival to its Ready status being written.
func BenchmarkPodStart(b *testing.B) {
	_, client, running := benchAgent(b, 1<<20)
	b.ResetTimer()
	for i := range b.N {
		if _, err := client.CoreV1().Pods("default").Create(b.Context(), benchPod(i), metav1.CreateOptions{}); err != nil {
			b.Fatal(err)
		}
		<-running
	}
}

// BenchmarkIdlePod reports what a running pod costs in heap, the API object and the fake runtime's records included.
func BenchmarkIdlePod(b *testing.B) {
	const pods = 1000
	for range b.N {
		_, client, running := benchAgent(b, pods+1)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range pods {
			if _, err := client.CoreV1().Pods("default").Create(b.Context(), benchPod(i), metav1.CreateOptions{}); err != nil {
				b.Fatal(err)
			}
		}
		for range pods {
			<-running
		}
		client.ClearActions()
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapInuse-before.HeapInuse)/pods, "B/pod")
		b.ReportMetric(float64(runtime.NumGoroutine()), "goroutines")
	}
}
