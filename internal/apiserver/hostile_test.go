package apiserver

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// Bodies made to cost much more than they weigh: deep nesting, aliases, copies of copies. Each is refused with a 4xx (or taken, where it
// is merely odd), in bounded memory.
func TestHostileBodies(t *testing.T) {
	c := newCluster(t)
	c.do("POST", "/api/v1/namespaces", `{"metadata":{"name":"n"}}`).want(201)
	c.do("POST", "/api/v1/namespaces/n/configmaps", `{"metadata":{"name":"c"},"data":{"a":"`+strings.Repeat("x", 1000)+`"}}`).want(201)
	c.do("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", `{"metadata":{"name":"ships.e.com"},"spec":{"group":"e.com","scope":"Namespaced","names":{"plural":"ships","singular":"ship","kind":"Ship","listKind":"ShipList"},
		"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}]}}`).want(201)
	until(t, "the custom resource", func() bool { return c.do("GET", "/apis/e.com/v1/namespaces/n/ships", nil).code == 200 })
	c.do("POST", "/apis/e.com/v1/namespaces/n/ships", `{"apiVersion":"e.com/v1","kind":"Ship","metadata":{"name":"s"},"spec":{"a":"`+strings.Repeat("x", 1000)+`"}}`).want(201)

	const deep = 1_000_000
	arrays := strings.Repeat("[", deep) + strings.Repeat("]", deep)
	objects := strings.Repeat(`{"a":`, deep/4) + "1" + strings.Repeat("}", deep/4)
	var laughs strings.Builder
	laughs.WriteString("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: laughs}\na0: &a0 [x,x,x,x,x,x,x,x,x,x]\n")
	for i := 1; i < 12; i++ {
		fmt.Fprintf(&laughs, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 10), ","))
	}
	copies := func(at string) string {
		var ops []string
		for i := range 40 {
			ops = append(ops, fmt.Sprintf(`{"op":"add","path":"/%s/k%d","value":{}}`, at, i), fmt.Sprintf(`{"op":"copy","from":"/%s","path":"/%s/k%d"}`, at, at, i))
		}
		return "[" + strings.Join(ops, ",") + "]"
	}
	configMap, ship := "/api/v1/namespaces/n/configmaps", "/apis/e.com/v1/namespaces/n/ships"
	merge, patch, apply, strategic := "application/merge-patch+json", "application/json-patch+json", "application/apply-patch+yaml", "application/strategic-merge-patch+json"
	for name, test := range map[string]struct{ method, path, body, media string }{
		"arrays":                        {"POST", configMap, arrays, "application/json"},
		"arrays in a field":             {"POST", configMap, `{"metadata":{"name":"x"},"data":` + arrays + `}`, "application/json"},
		"objects in an unknown field":   {"POST", configMap, `{"metadata":{"name":"x"},"none":` + objects + `}`, "application/json"},
		"objects in a custom resource":  {"POST", ship, `{"apiVersion":"e.com/v1","kind":"Ship","metadata":{"name":"x"},"spec":` + objects + `}`, "application/json"},
		"flow sequences in YAML":        {"POST", configMap, arrays, "application/yaml"},
		"aliases of aliases":            {"POST", configMap, laughs.String(), "application/yaml"},
		"aliases in an apply":           {"PATCH", configMap + "/laughs?fieldManager=m", laughs.String(), apply},
		"merge patch":                   {"PATCH", configMap + "/c", `{"data":` + objects + `}`, merge},
		"merge patch of a custom":       {"PATCH", ship + "/s", `{"spec":` + objects + `}`, merge},
		"strategic patch":               {"PATCH", configMap + "/c", `{"data":` + objects + `}`, strategic},
		"JSON patch value":              {"PATCH", ship + "/s", `[{"op":"add","path":"/spec/b","value":` + objects + `}]`, patch},
		"JSON patch path":               {"PATCH", ship + "/s", `[{"op":"add","path":"` + strings.Repeat("/a", deep) + `","value":1}]`, patch},
		"JSON patch of doubling copies": {"PATCH", ship + "/s", copies("spec"), patch},
		"ten thousand operations":       {"PATCH", ship + "/s", "[" + strings.Repeat(`{"op":"test","path":"/kind","value":"Ship"},`, 10001) + `{"op":"test","path":"/kind","value":"Ship"}]`, patch},
		"protobuf of nothing but tags":  {"POST", configMap, "k8s\x00" + strings.Repeat("\x0a\xff\x01", 100000), "application/vnd.kubernetes.protobuf"},
		"label selector":                {"GET", configMap + "?labelSelector=" + strings.Repeat("a,", 100000) + "a", "", ""},
		"label selector of parentheses": {"GET", configMap + "?labelSelector=a+in+" + strings.Repeat("(", 100000), "", ""},
		"field selector":                {"GET", configMap + "?fieldSelector=" + strings.Repeat("metadata.name=a,", 50000) + "x=y", "", ""},
		"continue token":                {"GET", configMap + "?limit=1&continue=" + strings.Repeat("A", 500000), "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			var body any
			if test.method != "GET" {
				body = test.body
			}
			r := c.do(test.method, test.path, body, "Content-Type", test.media)
			runtime.ReadMemStats(&after)
			if r.code >= 500 || (r.code >= 300 && r.code < 400) || r.code == 0 {
				t.Errorf("answered %d: %.300s", r.code, r.body)
			}
			if len(r.body) > 1<<20 {
				t.Errorf("answered with %d bytes", len(r.body))
			}
			if spent := (after.TotalAlloc - before.TotalAlloc) >> 20; spent > 1024 {
				t.Errorf("%d MiB were allocated for %d KiB", spent, len(test.body)>>10)
			}
		})
	}
	c.do("GET", "/api/v1/namespaces/n/configmaps/c", nil).want(200)
}
