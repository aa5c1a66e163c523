package admission

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"nau/internal/apiserver/authz"
)

// BenchmarkPodThroughTheChain is what admission adds to the creation of a pod.
func BenchmarkPodThroughTheChain(b *testing.B) {
	w := newWorld(b, namespace("a", corev1.NamespaceActive), &corev1.ServiceAccount{ObjectMeta: named("a", "default")})
	c := w.chain(authz.Always(authz.NoOpinion))
	b.ReportAllocs()
	for b.Loop() {
		pod := &corev1.Pod{ObjectMeta: named("a", "p"), Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "x"}}}}
		if err := run(context.Background(), c, request(Create, "pods", "a", "p", pod, nil)); err != nil {
			b.Fatal(err)
		}
	}
}
