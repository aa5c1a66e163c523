package apiserver

import (
	"context"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// The encoded form of a state is kept for those who read it again, not for the one who wrote it over an older one.
func TestKeptForms(t *testing.T) {
	c := newCluster(t)
	proto := []string{"Accept", "application/vnd.kubernetes.protobuf"}
	const path = "/api/v1/namespaces/default/configmaps"
	kept := func() bool {
		ep := c.registry.now().endpoints[schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}]
		e, err := ep.open().Get(context.Background(), ep.key("default", "a"), 0)
		if err != nil {
			t.Fatal(err)
		}
		return e.Has(ep.protoForm)
	}
	for _, step := range []struct {
		method, path, body string
		code               int
		kept               bool
	}{
		{"POST", path, `{"metadata":{"name":"a"}}`, 201, true},
		{"PUT", path + "/a", `{"metadata":{"name":"a"},"data":{"a":"1"}}`, 200, false},
		{"GET", path + "/a", "", 200, true},
		{"PATCH", path + "/a", `{"data":{"a":"2"}}`, 200, false},
		{"PATCH", path + "/a", `{"data":{"a":"2"}}`, 200, false}, // changes nothing
		{"GET", path, "", 200, true},
	} {
		var body any
		headers := proto
		if step.body != "" {
			body = step.body
		}
		if step.method == "PATCH" {
			headers = append([]string{"Content-Type", "application/merge-patch+json"}, proto...)
		}
		c.do(step.method, step.path, body, headers...).want(step.code)
		if got := kept(); got != step.kept {
			t.Errorf("after %s %s: kept %v", step.method, step.path, got)
		}
	}
}
