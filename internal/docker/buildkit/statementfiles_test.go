package buildkit

import (
	"context"
	"io"
	gofs "io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tonistiigi/fsutil"
)

// Files of two folders come in the order that a sender of files needs, and of two with one name the second folder's.
func TestBeside(t *testing.T) {
	folder := func(files map[string]string) fsutil.FS {
		dir := t.TempDir()
		for name, text := range files {
			if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		fs, err := fsutil.NewFS(dir)
		if err != nil {
			t.Fatal(err)
		}
		return fs
	}
	tree := folder(map[string]string{"a/x": "1", "p/q": "2", "provenance.json": "the result's own", "z": "3"})
	both := &beside{tree, folder(map[string]string{"provenance.json": "said", "zz.json": "said too"})}
	var names []string
	text := map[string]string{}
	err := both.Walk(context.Background(), "", func(name string, e gofs.DirEntry, err error) error {
		if names = append(names, name); err != nil || e.IsDir() {
			return err
		}
		r, err := both.Open(name)
		if err != nil {
			return err
		}
		defer r.Close()
		b, err := io.ReadAll(r)
		text[name] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"a", "a/x", "p", "p/q", "provenance.json", "z", "zz.json"}; !slices.Equal(names, want) || text["provenance.json"] != "said" || text["zz.json"] != "said too" || text["z"] != "3" {
		t.Errorf("%q with %q, want %q", names, text, want)
	}
	about, err := subjectFiles(context.Background(), tree)
	if err != nil || len(about) != 4 || about[0].Name != "a/x" || about[0].Digest["sha256"] != "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b" {
		t.Errorf("subjects %+v (%v)", about, err)
	}
}

// What clients ask for by themselves goes with what leaves the engine and has a place for it.
func TestProven(t *testing.T) {
	push := exporter{kind: "image", attrs: map[string]string{"push": "true"}}
	for _, c := range []struct {
		facts *facts
		e     exporter
		want  bool
	}{
		{nil, push, false},
		{&facts{}, exporter{kind: "local"}, true},
		{&facts{}, exporter{kind: "moby"}, true},
		{&facts{asked: asked{inline: true}}, push, true},
		{&facts{asked: asked{inline: true}}, exporter{kind: "oci"}, true},
		{&facts{asked: asked{inline: true}}, exporter{kind: "moby"}, false},
		{&facts{asked: asked{inline: true}}, exporter{kind: "docker"}, false},
		{&facts{asked: asked{inline: true}}, exporter{kind: "local"}, false},
	} {
		if got := (&result{facts: c.facts}).proven(c.e); got != c.want {
			t.Errorf("%+v of %+v: %v", c.facts, c.e, got)
		}
	}
	if err := (exporter{kind: "local", attrs: map[string]string{"attestation-prefix": "../x"}}).check(); err == nil {
		t.Error("an attestation-prefix leads out of the folder")
	}
}
