package custom

import (
	"encoding/json"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const stored = `{"apiVersion":"e.com/v1","kind":"Ship","metadata":{"name":"a","namespace":"n","uid":"u","resourceVersion":"7","labels":{"l":"1"},"finalizers":["f"]},"spec":{"old":1}}`

func ship(t testing.TB, doc string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON([]byte(doc)); err != nil {
		t.Fatal(err)
	}
	return u
}

func response(objects ...string) string {
	return `{"apiVersion":"apiextensions.k8s.io/v1","kind":"ConversionReview","response":{"uid":"r","result":{"status":"Success"},"convertedObjects":[` + strings.Join(objects, ",") + `]}}`
}

func TestWhatAConversionMayChange(t *testing.T) {
	good := strings.NewReplacer("e.com/v1", "e.com/v2", `"l":"1"`, `"l":"2"`, `"old"`, `"new"`, `"resourceVersion":"7"`, `"resourceVersion":"9"`, `"finalizers":["f"]`, `"annotations":{"x":"y"}`).Replace(stored)
	out, err := readConversion([]byte(response(good)), "v1", "r", []*unstructured.Unstructured{ship(t, stored)}, "e.com/v2")
	if err != nil {
		t.Fatal(err)
	}
	u := out[0]
	if u.GetResourceVersion() != "7" || len(u.GetFinalizers()) != 1 || u.GetLabels()["l"] != "2" || u.GetAnnotations()["x"] != "y" {
		t.Errorf("metadata %v", u.Object["metadata"])
	}
	if n, _, _ := unstructured.NestedInt64(u.Object, "spec", "new"); n != 1 {
		t.Errorf("spec %v", u.Object["spec"])
	}
	replace := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	for name, test := range map[string]struct{ doc, want string }{
		"version":  {response(stored), "invalid apiVersion: expected=e.com/v2, got=e.com/v1"},
		"kind":     {response(replace("Ship", "Boat")), "invalid kind"},
		"name":     {response(replace(`"name":"a"`, `"name":"b"`)), "metadata.name may not change"},
		"uid":      {response(replace(`"uid":"u"`, `"uid":"v"`)), "metadata.uid may not change"},
		"label":    {response(replace(`"l":"2"`, `"l":3`)), "expected a string"},
		"too many": {response(good, good), "expected 1 converted objects, got 2"},
		"none":     {response(), "expected 1 converted objects, got 0"},
		"failed":   {strings.Replace(response(good), `"Success"`, `"Failed","message":"no way"`, 1), "no way"},
		"stranger": {strings.Replace(response(good), `"uid":"r"`, `"uid":"s"`, 1), "expected response.uid"},
		"empty":    {`{}`, "absent"},
		"garbage":  {`[`, "read response"},
	} {
		if _, err := readConversion([]byte(test.doc), "v1", "r", []*unstructured.Unstructured{ship(t, stored)}, "e.com/v2"); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

// FuzzConversionAnswer: whatever a webhook answers, it is an error or an object that is still the same one.
func FuzzConversionAnswer(f *testing.F) {
	f.Add([]byte(response(strings.Replace(stored, "e.com/v1", "e.com/v2", 1))))
	f.Add([]byte(response(`{"apiVersion":"e.com/v2","kind":"Ship","metadata":null}`)))
	f.Add([]byte(`{"response":{"convertedObjects":[null]}}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		from := ship(t, stored)
		out, err := readConversion(doc, "v1", "r", []*unstructured.Unstructured{from}, "e.com/v2")
		if err != nil {
			return
		}
		if out[0].GetName() != "a" || out[0].GetUID() != "u" || out[0].GetResourceVersion() != "7" || out[0].GetAPIVersion() != "e.com/v2" {
			t.Errorf("became %v", out[0].Object)
		}
		if _, err := json.Marshal(out[0]); err != nil {
			t.Error(err)
		}
	})
}
