package record

import (
	"encoding/json"
	"testing"
)

func TestMovedRewritesPaths(t *testing.T) {
	type extra struct{ Mount string }
	type doc struct {
		Log, Other, Like string
		Size             int64
		Mounts           []struct{ Source string }
		Extra            []byte
	}
	in, err := json.Marshal(extra{"/old/volumes/v"})
	if err != nil {
		t.Fatal(err)
	}
	d := doc{Log: "/old/containers/x/log", Other: "/else/old", Like: "/older/x", Size: 1<<62 + 1, Mounts: []struct{ Source string }{{"/old"}}, Extra: in}
	dir, err := Open[doc](t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := dir.Put("a", &d); err != nil {
		t.Fatal(err)
	}
	if err := dir.Commit("b", &d); err != nil {
		t.Fatal(err)
	}
	path := dir.j.dir
	if err := Moved(path, "/old", "/new/place"); err != nil {
		t.Fatal(err)
	}
	if dir, err = Open[doc](path); err != nil {
		t.Fatal(err)
	}
	all, _, err := dir.All()
	if err != nil {
		t.Fatal(err)
	}
	for id, got := range all {
		var e extra
		if err := json.Unmarshal(got.Extra, &e); err != nil {
			t.Fatal(err)
		}
		if got.Log != "/new/place/containers/x/log" || got.Other != "/else/old" || got.Like != "/older/x" || got.Size != 1<<62+1 || got.Mounts[0].Source != "/new/place" || e.Mount != "/new/place/volumes/v" {
			t.Errorf("%s: %+v, %+v", id, got, e)
		}
	}
	if len(all) != 2 {
		t.Errorf("%d records are there", len(all))
	}
}

func FuzzMoved(f *testing.F) {
	f.Add([]byte(`{"a":"/old/x","Extra":"eyJhIjoiL29sZCJ9","n":12345678901234567890}`))
	f.Add([]byte(`[1e400,"/old"]`))
	f.Add([]byte(`{"Extra":{"Extra":"e30="}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		out, err := moved(b, "/old", "/new")
		if err == nil && !json.Valid(out) {
			t.Errorf("%q became %q", b, out)
		}
	})
}
