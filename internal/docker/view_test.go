package docker

import (
	"os"
	"path/filepath"
	"testing"
)

func TestViewsOfAKilledServerGo(t *testing.T) {
	dir := t.TempDir()
	if _, err := os.MkdirTemp(dir, viewsOf); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "containers"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := dropViews(dir); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != "containers" {
		t.Errorf("left: %v, %v", left, err)
	}
}
