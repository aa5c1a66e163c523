package builtin_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nau/internal/api"
	"nau/internal/api/builtin"
	"nau/internal/api/scheme"
)

var rewrite = flag.Bool("rewrite", false, "write what came out as what is expected")

// TestRefused takes the documents below testdata/bad through a create and compares all that is said
// against them with the transcript of the same name. `go test -rewrite` makes the transcripts anew; the
// change is then reviewed as a diff.
func TestRefused(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("manifests: %v %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			var b strings.Builder
			for _, obj := range documents(t, file) {
				if len(obj.errs) == 0 {
					t.Errorf("%s %s was accepted", obj.Kind, obj.name)
				}
				transcribe(&b, obj.Kind, obj.name, obj.errs)
			}
			compare(t, file, b.String())
		})
	}
}

// TestUpdates takes pairs of documents, stored and sent, through an update. What the strategy kept of
// the stored object and what it refused stand in the transcript.
func TestUpdates(t *testing.T) {
	const file = "testdata/update/immutable.yaml"
	docs := documents(t, file)
	var b strings.Builder
	for i := 0; i+1 < len(docs); i += 2 {
		old, sent := docs[i], docs[i+1]
		new := sent.raw
		m, _ := meta.Accessor(new)
		m.SetResourceVersion("1")
		o, _ := meta.Accessor(old.Object)
		o.SetResourceVersion("1")
		o.SetGeneration(1)
		if f := old.Strategy.PrepareUpdate; f != nil {
			f(new, old.Object)
		}
		transcribe(&b, old.Kind, old.name, old.Strategy.ValidateUpdate(new, old.Object))
		if g := m.GetGeneration(); g > 1 {
			fmt.Fprintf(&b, "  (generation %d)\n", g)
		}
		if s, is := new.(*corev1.Service); is {
			fmt.Fprintf(&b, "  (%s %v", s.Spec.Type, s.Spec.ClusterIPs)
			for _, p := range s.Spec.Ports {
				fmt.Fprintf(&b, " %d:%d", p.Port, p.NodePort)
			}
			fmt.Fprintln(&b, ")")
		}
	}
	compare(t, file, b.String())
}

// document is one manifest as it would be stored.
type document struct {
	api.Served
	runtime.Object
	name string
	errs field.ErrorList
	raw  runtime.Object // defaulted and converted, not yet prepared for create
}

func documents(t *testing.T, file string) []document {
	t.Helper()
	x := builtin.Index()
	codec, _ := scheme.ForMediaType(scheme.YAML, true)
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []document
	for _, doc := range strings.Split("\n"+string(raw), "\n---") {
		obj, gvk, err := codec.Decode([]byte(doc), nil, nil)
		if err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		served, ok := x.Kind(*gvk)
		if !ok {
			t.Fatalf("%s is not served", gvk)
		}
		m, err := meta.Accessor(obj)
		if err != nil {
			t.Fatal(err)
		}
		if served.Namespaced {
			m.SetNamespace("default")
		}
		m.SetUID("u")
		if f := served.Version.Default; f != nil {
			f(obj)
		}
		if f := served.Version.ToStorage; f != nil {
			if obj, err = f(obj); err != nil {
				t.Fatal(err)
			}
		}
		sent := obj.DeepCopyObject()
		if f := served.Strategy.PrepareCreate; f != nil {
			f(obj)
		}
		out = append(out, document{Served: served, Object: obj, name: m.GetName(), errs: served.Strategy.Validate(obj), raw: sent})
	}
	return out
}

func transcribe(b *strings.Builder, kind, name string, errs field.ErrorList) {
	fmt.Fprintf(b, "%s %s\n", kind, name)
	var lines []string
	for _, e := range errs {
		lines = append(lines, "  "+strings.ReplaceAll(e.Error(), "\n", "\\n")+"\n")
	}
	sort.Strings(lines)
	b.WriteString(strings.Join(lines, ""))
}

func compare(t *testing.T, file, got string) {
	t.Helper()
	golden := strings.TrimSuffix(file, ".yaml") + ".txt"
	if *rewrite {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
