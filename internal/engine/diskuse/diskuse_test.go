package diskuse

import (
	"os"
	"path/filepath"
	"testing"
)

// TestLengthsAndBlocks: a sparse file is as long as it says and costs nothing; two names of one file are one file; folders have no length.
func TestLengthsAndBlocks(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "a/b"), 0o700); err != nil {
		t.Fatal(err)
	}
	write("a/b/small", "12345")
	write("sparse", "")
	if err := os.Truncate(filepath.Join(dir, "sparse"), 1<<20); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(dir, "sparse"), filepath.Join(dir, "a/again")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("sparse", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	n, err := Lengths(dir)
	if want := int64(5 + 1<<20 + len("sparse")); err != nil || n != want {
		t.Errorf("files are %d bytes long, want %d (%v)", n, want, err)
	}
	bytes, inodes, err := Of(dir)
	if err != nil || inodes != 5 || bytes >= 1<<20 {
		t.Errorf("%d bytes and %d inodes, want few and 5 (%v)", bytes, inodes, err)
	}
	if _, err := Lengths(filepath.Join(dir, "nothing")); err == nil {
		t.Error("what is not there has a length")
	}
}
