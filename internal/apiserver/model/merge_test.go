package model

import (
	"encoding/json"
	"errors"
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"nau/internal/house/spent"
)

func FuzzMergePatchIsRFC7386(f *testing.F) {
	for _, p := range []string{
		`{"metadata":{"labels":{"a":"b","app":null}}}`, `{"spec":{"nodeName":"x","securityContext":{"runAsUser":1}}}`,
		`{"spec":{"containers":[{"name":"z"}]}}`, `{"metadata":null}`, `{"spec":{"nodeSelector":null,"tolerations":null}}`,
		`{"status":{"startTime":"2020-01-01T00:00:00Z","phase":"Running"}}`, `{"spec":{"activeDeadlineSeconds":5,"hostNetwork":true}}`,
		`{"metadata":{"labels":{}}}`, `{"spec":{"securityContext":{}}}`, `{"spec":{"unknown":1}}`, `{"spec":{"nodeName":1}}`, `{"metadata":{"labels":{"a":1}}}`,
		`{"spec":{"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[]}}}}}`,
	} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var patch map[string]any
		if json.Unmarshal([]byte(text), &patch) != nil {
			return // no patch
		}
		for _, strategic := range []bool{false, true} {
			got := pod()
			var err error
			spent.On(t, len(text), func() { err = MergePatch(got, patch, strategic) })
			if errors.Is(err, ErrNotPlain) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			doc, _ := json.Marshal(pod())
			var out []byte
			if strategic {
				out, err = strategicpatch.StrategicMergePatch(doc, []byte(text), corev1.Pod{})
			} else {
				out, err = jsonpatch.MergePatch(doc, []byte(text))
			}
			if err != nil {
				continue // the library is stricter about odd input; ours did not crash
			}
			want := &corev1.Pod{}
			if err := json.Unmarshal(out, want); err != nil {
				t.Fatalf("took a patch whose outcome is no pod: %v", err)
			}
			if !equality.Semantic.DeepEqual(got, want) {
				g, _ := json.Marshal(got)
				t.Fatalf("strategic %t, patch %s:\n got %s\nwant %s", strategic, text, g, out)
			}
		}
	})
}

func TestDirectivesAndListsAreNotPlain(t *testing.T) {
	for _, text := range []string{`{"spec":{"strategy":{"$retainKeys":["type"],"type":"Recreate"}}}`, `{"spec":{"template":{"spec":{"containers":[{"name":"a"}]}}}}`, `{"metadata":{"$patch":"delete"}}`,
		`{"metadata":{"labels":{"$patch":"replace","a":"b"}}}`} {
		var patch map[string]any
		if err := json.Unmarshal([]byte(text), &patch); err != nil {
			t.Fatal(err)
		}
		if err := MergePatch(&appsv1.Deployment{}, patch, true); !errors.Is(err, ErrNotPlain) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
