package builtin_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nau/internal/api"
	"nau/internal/api/builtin"
	"nau/internal/api/column"
	"nau/internal/api/scheme"
)

// TestColumns prints what `kubectl get -o wide` would show of the documents in testdata/columns.
func TestColumns(t *testing.T) {
	const file = "testdata/columns/tables.yaml"
	now := time.Date(2026, 1, 6, 0, 0, 0, 0, time.UTC)
	x := builtin.Index()
	codec, _ := scheme.ForMediaType(scheme.YAML, true)
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 3, ' ', 0)
	last := ""
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
		m.SetCreationTimestamp(metav1.NewTime(now.Add(-5 * 24 * time.Hour)))
		if f := served.Version.Default; f != nil {
			f(obj)
		}
		columns := served.Columns
		if len(columns) == 0 {
			columns = []api.Column{column.Name(), column.Age()}
		}
		var header, cells []string
		for _, c := range columns {
			name := strings.ToUpper(c.Name)
			if c.Priority > 0 {
				name = "+" + name
			}
			header = append(header, name)
			cells = append(cells, fmt.Sprint(c.Value(obj, now)))
			if c.Description == "" {
				t.Errorf("%s: column %s has no description", gvk.Kind, c.Name)
			}
		}
		if gvk.Kind != last {
			if last != "" {
				fmt.Fprintln(w)
			}
			w.Flush()
			fmt.Fprintf(w, "%s\n", strings.Join(header, "\t"))
			last = gvk.Kind
		}
		fmt.Fprintf(w, "%s\n", strings.Join(cells, "\t"))
	}
	w.Flush()
	var lines []string
	for _, line := range strings.Split(b.String(), "\n") {
		lines = append(lines, strings.TrimRight(line, " "))
	}
	compare(t, file, strings.Join(lines, "\n"))
}
