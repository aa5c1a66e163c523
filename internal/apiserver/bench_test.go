package apiserver

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"nau/internal/api/builtin"
)

// The benchmarks take the whole pipeline but the network: handler in, recorder out.

func (c *cluster) pods(n int) {
	for i := range n {
		c.do("POST", "/api/v1/namespaces/default/pods", fmt.Sprintf(`{"metadata":{"name":"p%d","labels":{"app":"x"}},"spec":{"containers":[{"name":"c","image":"i","env":[{"name":"A","value":"B"}],"ports":[{"containerPort":80}]}]}}`, i)).want(201)
	}
}

func BenchmarkCreatePod(b *testing.B) {
	c := newCluster(b)
	b.ReportAllocs()
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
