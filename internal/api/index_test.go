package api

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestIndex(t *testing.T) {
	pods := &Resource{Kind: "Pod", Plural: "pods", Storage: "v1", Versions: []Version{{Name: "v1", New: New[corev1.Pod]()}}}
	x, err := NewIndex([]*Resource{pods})
	if err != nil {
		t.Fatal(err)
	}
	if s, ok := x.Resource(schema.GroupVersionResource{Version: "v1", Resource: "pods"}); !ok || s.Resource != pods || s.Version != pods.StorageVersion() {
		t.Errorf("by resource: %v %v", s, ok)
	}
	if s, ok := x.Kind(schema.GroupVersionKind{Version: "v1", Kind: "Pod"}); !ok || s.Resource != pods {
		t.Errorf("by kind: %v %v", s, ok)
	}
	if r, ok := x.GroupResource(schema.GroupResource{Resource: "pods"}); !ok || r != pods {
		t.Errorf("by group: %v %v", r, ok)
	}
	if _, ok := x.Kind(schema.GroupVersionKind{Kind: "Ship"}); ok {
		t.Error("found a ship")
	}
	if _, err := NewIndex([]*Resource{pods, pods}); err == nil {
		t.Error("two resources of one name were indexed")
	}
	if g := x.Groups(); len(g) != 1 || g[0].Priority != 18000 || g[0].Versions[0].Priority != 15 {
		t.Errorf("groups %+v", g)
	}
}
