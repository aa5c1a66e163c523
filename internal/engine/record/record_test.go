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
	_ = os.Truncate(filepath.Join(d.Path("b"), name), 0) // as a power loss may leave it
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
