package volume

import (
	"os"
	"path/filepath"
	"testing"
)

// What a crash left of a volume that was being made is gone after the next start; content without a record is a volume again.
func TestOpenAfterCrash(t *testing.T) {
	dir := t.TempDir()
	for _, p := range []string{"half/_data", "early", "kept/_data"} {
		if err := os.MkdirAll(filepath.Join(dir, p), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []string{"half/volume.json.new", "kept/_data/file", "kept/volume.json.new"} {
		if err := os.WriteFile(filepath.Join(dir, p), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"half", "early"} {
		if _, err := os.Stat(filepath.Join(dir, name)); !os.IsNotExist(err) {
			t.Errorf("%s is there: %v", name, err)
		}
	}
	if all := s.List(); len(all) != 1 || all[0].Name != "kept" {
		t.Errorf("volumes: %+v", all)
	}
	if err := s.Remove("kept"); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
