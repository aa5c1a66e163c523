package apiserver

import (
	"strings"
	"testing"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apiextv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const widgets = `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"widgets.example.com"},"spec":{
 "group":"example.com","scope":"Namespaced","names":{"plural":"widgets","singular":"widget","kind":"Widget","listKind":"WidgetList","shortNames":["wd"]},
 "versions":[{"name":"v1","served":true,"storage":true,
  "additionalPrinterColumns":[{"name":"Size","type":"integer","jsonPath":".spec.size"}],
  "subresources":{"status":{},"scale":{"specReplicasPath":".spec.size","statusReplicasPath":".status.size"}},
  "schema":{"openAPIV3Schema":{"type":"object","properties":{
   "spec":{"type":"object","required":["size"],"properties":{
     "size":{"type":"integer","minimum":1,"description":"how large"},"color":{"type":"string","default":"red"},
     "parts":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["name"],"items":{"type":"object","required":["name"],"properties":{"name":{"type":"string"},"n":{"type":"integer"}}}}},
     "x-kubernetes-validations":[{"rule":"self.size < 100","message":"too large"}]},
   "status":{"type":"object","properties":{"size":{"type":"integer"}}}}}}},
  {"name":"v2","served":true,"storage":false,"schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}]}}`

// until asks again until the answer has the code: definitions come into effect a moment after they are written.
func (c *cluster) until(code int, path string) reply {
	c.t.Helper()
	late := time.After(20 * time.Second)
	for {
		v := c.registry.now()
		r := c.do("GET", path, nil)
		if r.code == code {
			return r
		}
		select {
		case <-v.replaced:
		case <-late:
			return r.want(code)
		}
	}
}

func TestCustomResources(t *testing.T) {
	c := newCluster(t)
	t.Cleanup(c.Drain)
	c.namespace("ns")
	const crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
	const path = "/apis/example.com/v1/namespaces/ns/widgets"
	c.do("POST", crds, widgets).want(201)
	c.until(200, path)
	var crd apiextv1.CustomResourceDefinition
	c.do("GET", crds+"/widgets.example.com", nil).want(200, &crd)
	if !condition(&crd, apiextv1.Established) || !condition(&crd, apiextv1.NamesAccepted) || crd.Status.AcceptedNames.Kind != "Widget" {
		t.Fatalf("%+v", crd.Status)
	}

	var w unstructured.Unstructured
	get := func(r reply, code int) {
		t.Helper()
		r.want(code)
		w = unstructured.Unstructured{}
		if err := w.UnmarshalJSON(r.body); err != nil {
			t.Fatal(err)
		}
	}
	r := c.do("POST", path, `{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"a"},"spec":{"size":3,"bogus":1},"status":{"size":9}}`)
	get(r, 201)
	if warn := r.header.Get("Warning"); !strings.Contains(warn, `unknown field \"spec.bogus\"`) {
		t.Errorf("warning %q", warn)
	}
	spec := w.Object["spec"].(map[string]any)
	if spec["color"] != "red" || spec["bogus"] != nil || w.Object["status"] != nil || w.GetUID() == "" || w.GetGeneration() != 1 || len(w.GetManagedFields()) != 1 {
		t.Fatalf("%+v", w.Object)
	}
	c.do("POST", path+"?fieldValidation=Strict", `{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"b"},"spec":{"size":3,"bogus":1}}`).
		fails(400, metav1.StatusReasonBadRequest, `strict decoding error: unknown field "spec.bogus"`)
	c.do("POST", path, `{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"b"},"spec":{"size":0}}`).fails(422, metav1.StatusReasonInvalid, "spec.size")
	c.do("POST", path, `{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"b"},"spec":{"size":200}}`).fails(422, metav1.StatusReasonInvalid, "too large")
	c.do("POST", path, `{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"b"},"spec":{}}`).fails(422, metav1.StatusReasonInvalid, "spec.size: Required value")

	get(c.do("PATCH", path+"/a", `{"spec":{"size":4}}`, "Content-Type", "application/merge-patch+json"), 200)
	if w.GetGeneration() != 2 {
		t.Errorf("generation %d", w.GetGeneration())
	}
	get(c.do("PATCH", path+"/a/status", `{"status":{"size":4},"spec":{"size":7}}`, "Content-Type", "application/merge-patch+json"), 200)
	if n, _, _ := unstructured.NestedInt64(w.Object, "spec", "size"); n != 0 && w.GetGeneration() != 2 {
		t.Errorf("a status write is for the status: %+v", w.Object)
	}
	get(c.do("PATCH", path+"/a", `{"metadata":{"annotations":{},"labels":{}}}`, "Content-Type", "application/merge-patch+json"), 200)
	if m := w.Object["metadata"].(map[string]any); m["annotations"] != nil || m["labels"] != nil {
		t.Errorf("empty maps of metadata are left out: %v", m)
	}
	c.do("PATCH", path+"/a?fieldValidation=Strict", `{"spec":{"bogus":1}}`, "Content-Type", "application/merge-patch+json").
		fails(422, metav1.StatusReasonInvalid, `strict decoding error: unknown field "spec.bogus"`)
	// A client takes from the description which patches there are: of these none that needs a Go type.
	if doc := string(c.do("GET", "/openapi/v3/apis/example.com/v1", nil).want(200).body); !strings.Contains(doc, "application/merge-patch+json") || strings.Contains(doc, "strategic-merge-patch") {
		t.Error("the description of a custom resource offers other patches than there are")
	}
	if doc := string(c.do("GET", "/openapi/v3/apis/apps/v1", nil).want(200).body); !strings.Contains(doc, "strategic-merge-patch") {
		t.Error("the description of a built-in resource lacks strategic merge patches")
	}
	var sc autoscalingv1.Scale
	c.do("PATCH", path+"/a/scale", `{"spec":{"replicas":6}}`, "Content-Type", "application/merge-patch+json").want(200, &sc)
	if sc.Spec.Replicas != 6 || sc.Status.Replicas != 4 {
		t.Errorf("%+v", sc)
	}
	apply := func(who, part string) reply {
		return c.do("PATCH", path+"/a?fieldManager="+who, `{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"a"},"spec":{"parts":[{"name":"`+part+`","n":1}]}}`, "Content-Type", "application/apply-patch+yaml")
	}
	apply("one", "x").want(200)
	get(apply("two", "y"), 200)
	if parts, _, _ := unstructured.NestedSlice(w.Object, "spec", "parts"); len(parts) != 2 {
		t.Errorf("a list by key merges: %v", parts)
	}
	for part, field := range map[string]string{
		`"spec":{"bogus":1}`:         ".spec.bogus",
		`"metadata":{"unknown":"x"}`: ".metadata.unknown",
	} {
		r := c.do("PATCH", path+"/a?fieldManager=one", `{"apiVersion":"example.com/v1","kind":"Widget",`+part+`}`, "Content-Type", "application/apply-patch+yaml")
		if r.code < 400 || !strings.Contains(string(r.body), field+": field not declared in schema") {
			t.Errorf("apply of %s: %d %s", part, r.code, r.body)
		}
	}
	get(c.do("GET", "/apis/example.com/v2/namespaces/ns/widgets/a", nil), 200)
	if w.GetAPIVersion() != "example.com/v2" {
		t.Errorf("version %s", w.GetAPIVersion())
	}
	var tab metav1.Table
	c.do("GET", path, nil, "Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").want(200, &tab)
	if len(tab.Rows) != 1 || len(tab.Rows[0].Cells) != 2 || tab.Rows[0].Cells[1] != float64(6) {
		t.Errorf("%+v", tab.Rows)
	}
	if doc := c.do("GET", "/openapi/v3/apis/example.com/v1", nil).want(200); !strings.Contains(string(doc.body), "how large") {
		t.Error("the schema is not described")
	}
	c.do("PATCH", path+"/a", `[]`, "Content-Type", "application/strategic-merge-patch+json").fails(415, metav1.StatusReasonUnsupportedMediaType, "")

	// What was stored before is read as the newest definition says.
	v := c.registry.now()
	c.do("PATCH", crds+"/widgets.example.com", `[
	  {"op":"add","path":"/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/shape","value":{"type":"string","default":"round"}},
	  {"op":"add","path":"/spec/versions/0/selectableFields","value":[{"jsonPath":".spec.shape"}]}]`, "Content-Type", "application/json-patch+json").want(200)
	<-v.replaced
	get(c.do("GET", path+"/a", nil), 200)
	if shape, _, _ := unstructured.NestedString(w.Object, "spec", "shape"); shape != "round" {
		t.Errorf("the new default is not there: %+v", w.Object)
	}
	var list unstructured.UnstructuredList
	r = c.do("GET", path+"?fieldSelector=spec.shape%3Dround", nil).want(200)
	if err := list.UnmarshalJSON(r.body); err != nil || len(list.Items) != 1 {
		t.Errorf("by the new field: %v %s", err, r.body)
	}

	c.do("DELETE", crds+"/widgets.example.com", nil).want(200)
	c.until(404, path)
	c.until(404, crds+"/widgets.example.com")
}
