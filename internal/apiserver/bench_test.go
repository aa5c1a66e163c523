package apiserver

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"nau/internal/api/builtin"
)

// The benchmarks take the whole pipeline but the network: handler in, recorder out.

func (c *cluster) pods(n int) {
	for i := range n {
		c.do("POST", "/api/v1/namespaces/default/pods", fmt.Sprintf(`{"metadata":{"name":"p%d","labels":{"app":"x"}},"spec":{"containers":[{"name":"c","image":"i","env":[{"name":"A","value":"B"}],"ports":[{"containerPort":80}]}]}}`, i)).want(201)
	}
}

// processorTime reports the CPU time of an operation, all goroutines and the collector included: unlike wall time it does not
// depend on the disk.
func processorTime(b *testing.B) func() {
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	start := used()
	return func() { b.ReportMetric(float64((used()-start).Microseconds())/float64(b.N), "cpu-us/op") }
}

func BenchmarkCreatePod(b *testing.B) {
	c := newCluster(b)
	b.ReportAllocs()
	defer processorTime(b)()
	i := 0
	for b.Loop() {
		c.do("POST", "/api/v1/namespaces/default/pods", fmt.Sprintf(`{"metadata":{"name":"p%d"},"spec":{"containers":[{"name":"c","image":"i"}]}}`, i)).want(201)
		i++
	}
}

func BenchmarkPatchPod(b *testing.B) {
	for _, kind := range []string{"merge", "strategic-merge"} {
		b.Run(kind, func(b *testing.B) {
			c := newCluster(b)
			c.pods(1)
			b.ReportAllocs()
			defer processorTime(b)()
			i := 0
			for b.Loop() {
				c.do("PATCH", "/api/v1/namespaces/default/pods/p0", fmt.Sprintf(`{"metadata":{"annotations":{"n":"%d"}}}`, i), "Content-Type", "application/"+kind+"-patch+json").want(200)
				i++
			}
		})
	}
}

func BenchmarkUpdateStatus(b *testing.B) {
	c := newCluster(b)
	c.pods(1)
	var pod corev1.Pod
	c.do("GET", "/api/v1/namespaces/default/pods/p0", nil).want(200, &pod)
	b.ReportAllocs()
	defer processorTime(b)()
	i := 0
	for b.Loop() {
		pod.Status.Message = fmt.Sprint(i)
		c.do("PUT", "/api/v1/namespaces/default/pods/p0/status", pod).want(200, &pod)
		i++
	}
}

func BenchmarkList(b *testing.B) {
	c := newCluster(b)
	c.pods(1000)
	for _, media := range []string{"application/json", "application/vnd.kubernetes.protobuf"} {
		b.Run(media[12:], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.do("GET", "/api/v1/pods", nil, "Accept", media).want(200)
			}
		})
	}
}

// What a start costs: the table, the registry and the stages, without the store.
func BenchmarkNew(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := New(Config{Table: builtin.Table()}); err != nil {
			b.Fatal(err)
		}
	}
}

// discard is a response that counts what is written.
type discard struct {
	header http.Header
	n      atomic.Int64
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(int)             {}
func (d *discard) Write(b []byte) (int, error) { d.n.Add(int64(len(b))); return len(b), nil }
func (d *discard) Flush()                      {}

// One operation is a write seen by 100 watchers.
func BenchmarkWatch100(b *testing.B) {
	c := newCluster(b)
	c.pods(1)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var outs []*discard
	for range 100 {
		d := &discard{header: http.Header{}}
		outs = append(outs, d)
		r := httptest.NewRequestWithContext(ctx, "GET", "/api/v1/namespaces/default/pods?watch=true&resourceVersion=1", nil)
		r.Header.Set("Accept", "application/vnd.kubernetes.protobuf")
		go c.Handler().ServeHTTP(d, r)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		c.do("PATCH", "/api/v1/namespaces/default/pods/p0", fmt.Sprintf(`{"metadata":{"annotations":{"n":"%09d"}}}`, i), "Content-Type", "application/merge-patch+json").want(200)
		i++
	}
	b.StopTimer()
	var total int64
	for _, d := range outs {
		total += d.n.Load()
	}
	b.ReportMetric(float64(total)/float64(b.N)/100, "B/event")
}
