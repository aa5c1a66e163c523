package volume

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
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

// A file server that does not answer holds up the volume that is on it, and no other.
func TestSlowMountHoldsUpItsVolumeAlone(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	mounting, answer := make(chan string), make(chan error)
	s.mount = func(v *Volume, _ string) error {
		mounting <- v.Name
		return <-answer
	}
	if _, _, err := s.Create(Volume{Name: "remote", Options: map[string]string{"type": "nfs", "device": ":/x", "o": "addr=192.0.2.1"}}); err != nil {
		t.Fatal(err)
	}
	used := make(chan error, 2)
	for _, user := range []string{"a", "b"} {
		go func() { used <- s.Use("remote", user) }()
	}
	<-mounting
	if _, fresh, err := s.Create(Volume{Name: "other"}); err != nil || !fresh {
		t.Error(fresh, err)
	}
	if _, fresh, err := s.Create(Volume{Name: "remote"}); err != nil || fresh {
		t.Error(fresh, err)
	}
	if len(s.List()) != 2 {
		t.Errorf("%v", s.List())
	}
	if err := s.Remove("other"); err != nil {
		t.Error(err)
	}
	gone := errors.New("no answer")
	answer <- gone // the first gives up, the second tries again
	if err := <-used; !errors.Is(err, gone) {
		t.Error(err)
	}
	<-mounting
	answer <- nil
	if err := <-used; err != nil {
		t.Error(err)
	}
	if err := s.Remove("remote"); !errors.Is(err, ErrInUse) {
		t.Error(err)
	}
	for _, user := range []string{"a", "b"} {
		if err := s.Release("remote", user); err != nil {
			t.Error(err)
		}
	}
	if err := s.Remove("remote"); err != nil {
		t.Error(err)
	}
}

// Of many who make, find and remove one volume at once, each gets an answer that is true at some moment.
func TestManyAtOneVolume(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 20 {
				if v, _, err := s.Create(Volume{Name: "data"}); err != nil || v == nil {
					t.Error(v, err)
				}
				if err := s.Use("data", "u"); err != nil && !errors.Is(err, ErrNotFound) {
					t.Error(err)
				}
				if err := s.Remove("data"); err != nil && !errors.Is(err, ErrNotFound) {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if len(s.List()) > 0 {
		t.Error("a volume is left")
	}
	if left, err := os.ReadDir(s.dir); err != nil || len(left) > 0 {
		t.Error(left, err)
	}
}
