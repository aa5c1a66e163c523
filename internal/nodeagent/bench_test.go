package nodeagent

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"

	"nau/internal/nodeagent/fakecri"
)

func benchAgent(b *testing.B, objects int) (*Agent, *fake.Clientset) {
	b.Helper()
	rt, client := fakecri.New(fakecri.Options{}), fake.NewClientset()
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
	return a, client
}

func benchPod(i int) *corev1.Pod {
	p := pod(fmt.Sprintf("p%d", i), "c")
	p.Namespace, p.UID, p.Spec.NodeName, p.Generation = "default", types.UID(fmt.Sprintf("uid-%d", i)), "n1", 1
	return p
}

// BenchmarkPodStart is the agent's own share of a start: from the pod's arrival to its Ready status being decided.
func BenchmarkPodStart(b *testing.B) {
	a, client := benchAgent(b, 1<<20)
	b.ResetTimer()
	for i := range b.N {
		p := benchPod(i)
		if _, err := client.CoreV1().Pods("default").Create(b.Context(), p, metav1.CreateOptions{}); err != nil {
			b.Fatal(err)
		}
		for !running(a, string(p.UID)) {
			runtime.Gosched()
		}
	}
}

func running(a *Agent, uid string) bool {
	w := a.worker(uid)
	if w == nil {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sent != nil && w.sent.Phase == corev1.PodRunning
}

// BenchmarkIdlePod reports what a running pod costs in heap, the API object and the fake runtime's records included.
func BenchmarkIdlePod(b *testing.B) {
	const pods = 1000
	for range b.N {
		a, client := benchAgent(b, pods+1)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range pods {
			if _, err := client.CoreV1().Pods("default").Create(b.Context(), benchPod(i), metav1.CreateOptions{}); err != nil {
				b.Fatal(err)
			}
		}
		for i := range pods {
			for !running(a, fmt.Sprintf("uid-%d", i)) {
				time.Sleep(time.Millisecond)
			}
		}
		time.Sleep(200 * time.Millisecond)
		client.ClearActions()
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapInuse-before.HeapInuse)/pods, "B/pod")
		b.ReportMetric(float64(runtime.NumGoroutine()), "goroutines")
	}
}
