package builtin_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"

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
	x := builtin.Index()
	codec, _ := scheme.ForMediaType(scheme.YAML, true)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
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
				if f := served.Strategy.PrepareCreate; f != nil {
					f(obj)
				}
				errs := served.Strategy.Validate(obj)
				if len(errs) == 0 {
					t.Errorf("%s %s was accepted", gvk.Kind, m.GetName())
				}
				fmt.Fprintf(&b, "%s %s\n", gvk.Kind, m.GetName())
				var lines []string
				for _, e := range errs {
					lines = append(lines, "  "+strings.ReplaceAll(e.Error(), "\n", "\\n"))
				}
				sort.Strings(lines)
				fmt.Fprintln(&b, strings.Join(lines, "\n"))
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".txt"
			if *rewrite {
				if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got := b.String(); got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}
