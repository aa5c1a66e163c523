package volume

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestLife(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	v, fresh, err := s.Create(Volume{Name: "data", Labels: map[string]string{"a": "b"}})
	if err != nil || !fresh || v.Created.IsZero() {
		t.Fatal(v, fresh, err)
	}
	if _, fresh, err = s.Create(Volume{Name: "data"}); err != nil || fresh {
		t.Error("a volume that exists is kept", fresh, err)
	}
	if err := os.WriteFile(filepath.Join(s.Path("data"), "f"), []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(dir); err != nil { // and once more
		t.Fatal(err)
	}
	if v, err := s.Get("data"); err != nil || v.Labels["a"] != "b" || s.Size("data") != 5 {
		t.Error(v, err, s.Size("data"))
	}
	if err := s.Remove("data"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "data")); !errors.Is(err, os.ErrNotExist) {
		t.Error("content is left")
	}
	if _, err := s.Get("data"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

func TestRefused(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []Volume{{Name: ""}, {Name: "../x"}, {Name: "a/b"}, {Name: "x"}, {Name: "vv", Options: map[string]string{"bogus": "1"}}, {Name: "vv", Options: map[string]string{"type": "tmpfs"}}} {
		if _, _, err := s.Create(v); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v", v, err)
		}
	}
}
