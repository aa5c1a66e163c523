package record

import (
	"os"
	"path/filepath"
	"testing"
)

type thing struct{ Name string }

func TestRecordsSurviveAndDamageIsDropped(t *testing.T) {
	dir := t.TempDir()
	d, err := Open[thing](filepath.Join(dir, "things"))
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a", "b", "c"} {
		if err := d.Put(id, &thing{id}); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Put("a", &thing{"again"}); err != nil {
		t.Fatal(err)
	}
	_ = os.Truncate(filepath.Join(d.Path("b"), latest), 0) // as a power loss may leave it
	_ = os.Mkdir(d.Path("half"), 0o700)
	if err := d.Delete("c"); err != nil {
		t.Fatal(err)
	}
	all, damaged, err := d.All()
	if err != nil || len(all) != 1 || all["a"].Name != "again" || len(damaged) != 2 {
		t.Fatalf("all %v, damaged %v, %v", all, damaged, err)
	}
	if _, damaged, _ := d.All(); len(damaged) != 0 {
		t.Fatalf("damage %v was not cleaned", damaged)
	}
}

// What a loss of power may leave of the files, and the record that is read then.
func TestWhatWasCommittedSurvivesTheRest(t *testing.T) {
	for _, c := range []struct {
		name string
		lose func(dir string) error
		want string
	}{
		{"nothing is lost", func(string) error { return nil }, "put"},
		{"the later one is missing", func(dir string) error { return os.Remove(filepath.Join(dir, latest)) }, "committed"},
		{"the later one is empty", func(dir string) error { return os.Truncate(filepath.Join(dir, latest), 0) }, "committed"},
		{"the later one is torn", func(dir string) error { return os.Truncate(filepath.Join(dir, latest), 7) }, "committed"},
		{"a half-written next one", func(dir string) error { return os.WriteFile(filepath.Join(dir, committed+".new"), []byte("{"), 0o600) }, "put"},
	} {
		d, err := Open[thing](t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Commit("a", &thing{"committed"}); err != nil {
			t.Fatal(err)
		}
		if err := d.Put("a", &thing{"put"}); err != nil {
			t.Fatal(err)
		}
		if err := c.lose(d.Path("a")); err != nil {
			t.Fatal(err)
		}
		all, damaged, err := d.All()
		if err != nil || len(damaged) != 0 || all["a"] == nil || all["a"].Name != c.want {
			t.Errorf("%s: %v, damaged %v, %v; want %q", c.name, all["a"], damaged, err, c.want)
		}
		if err := d.Commit("a", &thing{"committed again"}); err != nil {
			t.Fatal(err)
		}
		if all, _, _ := d.All(); all["a"].Name != "committed again" {
			t.Errorf("%s: after a commit the record is %v", c.name, all["a"])
		}
	}
}
