package record

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

type thing struct{ Name string }

func open(t *testing.T, dir string) Dir[thing] {
	t.Helper()
	d, err := Open[thing](dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// names are the records that are there, and what is damaged.
func names(t *testing.T, d Dir[thing]) (map[string]string, []string) {
	t.Helper()
	all, damaged, err := d.All()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for id, v := range all {
		out[id] = v.Name
	}
	slices.Sort(damaged)
	return out, damaged
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func TestRecordsSurviveAndDamageIsDropped(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "things")
	d := open(t, dir)
	must(t, d.Put("a", &thing{"a"}), d.Put("b", &thing{"b"}), d.Put("c", &thing{"c"}), d.Put("a", &thing{"again"}))
	must(t, os.Mkdir(d.Path("half"), 0o700), os.Mkdir(d.Path("c"), 0o700), os.WriteFile(filepath.Join(d.Path("c"), "log"), nil, 0o600))
	must(t, d.Delete("c"), d.Delete("never"))
	_, err := d.j.add(opPut, "odd", []byte(`["no thing"]`))
	must(t, err)
	for _, want := range [][]string{{"half", "odd"}, nil} { // the second time the file is read anew
		all, damaged := names(t, d)
		if !maps.Equal(all, map[string]string{"a": "again", "b": "b"}) {
			t.Fatalf("all %v", all)
		}
		if _, err := os.Stat(d.Path("c")); err == nil {
			t.Error("the folder of what was deleted is there")
		}
		if !slices.Equal(damaged, want) {
			t.Fatalf("damaged %v, want %v", damaged, want)
		}
		d = open(t, dir)
	}
}

// What a loss of power may leave of the file, and the records that are read then.
func TestWhatWasCommittedSurvivesTheRest(t *testing.T) {
	for _, c := range []struct {
		name string
		lose func(text []byte, committed int) []byte
		want string
	}{
		{"nothing is lost", func(text []byte, _ int) []byte { return text }, "put"},
		{"the later one is missing", func(text []byte, committed int) []byte { return text[:committed] }, "committed"},
		{"the later one is torn", func(text []byte, _ int) []byte { return text[:len(text)-7] }, "committed"},
		{"the later one has no end", func(text []byte, _ int) []byte { return text[:len(text)-1] }, "committed"},
		{"the later one is zeros", func(text []byte, committed int) []byte { clear(text[committed:]); return text }, "committed"},
		{"the later one begins with zeros", func(text []byte, committed int) []byte { clear(text[committed : committed+20]); return text }, "committed"},
		{"a byte is another", func(text []byte, _ int) []byte { text[len(text)-5]++; return text }, "committed"},
		{"the file is longer", func(text []byte, _ int) []byte { return append(text, make([]byte, 4096)...) }, "put"},
	} {
		dir := t.TempDir()
		d := open(t, dir)
		must(t, d.Commit("a", &thing{"committed"}))
		committed := int(d.j.end)
		must(t, d.Put("a", &thing{"put"}))
		file := filepath.Join(dir, journalFile)
		text, err := os.ReadFile(file)
		must(t, err)
		must(t, os.WriteFile(file, c.lose(text, committed), 0o600))
		d = open(t, dir)
		if all, damaged := names(t, d); all["a"] != c.want || len(damaged) != 0 {
			t.Errorf("%s: %v, damaged %v; want %q", c.name, all, damaged, c.want)
		}
		must(t, d.Put("a", &thing{"again"}), d.Put("b", &thing{"b"}))
		if all, _ := names(t, open(t, dir)); all["a"] != "again" || all["b"] != "b" {
			t.Errorf("%s: what was put later is %v", c.name, all)
		}
	}
}

// A line in the middle that the disk spoiled takes no other with it.
func TestDamageInTheMiddle(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	must(t, d.Commit("a", &thing{"a"}))
	from := d.j.end
	must(t, d.Commit("b", &thing{"b"}))
	spoiled := from + 12
	must(t, d.Commit("c", &thing{"c"}))
	_, err := d.j.file.WriteAt([]byte{0xff}, spoiled)
	must(t, err)
	if all, _ := names(t, open(t, dir)); !maps.Equal(all, map[string]string{"a": "a", "c": "c"}) {
		t.Errorf("%v", all)
	}
}

// The file does not grow with what has been, and every record lives through its being written anew, while others are written.
func TestFileIsWrittenAnew(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	long := strings.Repeat("x", 4<<10)
	var all sync.WaitGroup
	for w := range 4 {
		all.Go(func() {
			kept, goes := fmt.Sprintf("kept%d", w), fmt.Sprintf("goes%d", w)
			for i := range 600 {
				v := &thing{fmt.Sprint(long, i)}
				if err := errors.Join(d.Put(kept, v), d.Commit(goes, v)); err != nil {
					t.Error(err)
				}
				if err := d.Delete(goes); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if d.j.base == 0 {
		t.Error("the file was never written anew")
	}
	size := func() int64 {
		st, err := os.Stat(filepath.Join(dir, journalFile))
		must(t, err)
		return st.Size()
	}
	if size() > 2*stale {
		t.Errorf("the file has %d bytes", size())
	}
	for range restful/len(long) + 2 {
		must(t, d.Put("kept0", &thing{long + "599"}))
	}
	d.j.renew() // as when there is rest
	if size() != d.j.liveSize {
		t.Errorf("after a rest the file has %d bytes, for records of %d", size(), d.j.liveSize)
	}
	got, damaged := names(t, open(t, dir))
	if len(got) != 4 || len(damaged) != 0 {
		t.Fatalf("%d records, damaged %v", len(got), damaged)
	}
	for id, name := range got {
		if name != long+"599" {
			t.Errorf("%s is an old one", id)
		}
	}
}

// With the last record the file is empty, and what comes then is kept as ever.
func TestLastRecordEmptiesTheFile(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	for i := range 3 {
		id := fmt.Sprint("a", i)
		must(t, d.Commit(id, &thing{strings.Repeat("x", 1000-i)}), d.Put(id, &thing{"y"}), d.Delete(id))
		if st, err := os.Stat(filepath.Join(dir, journalFile)); err != nil || st.Size() != 0 {
			t.Fatalf("the file has %d bytes, %v", st.Size(), err)
		}
	}
	must(t, d.Commit("b", &thing{"b"}))
	if d.j.synced != d.j.base+d.j.end {
		t.Errorf("of %d bytes %d are on disk after a commit", d.j.base+d.j.end, d.j.synced)
	}
	if got, _ := names(t, open(t, dir)); !maps.Equal(got, map[string]string{"b": "b"}) {
		t.Errorf("%v", got)
	}
}

// Where no line can be added, a deletion crosses out the record's own, and what was put about the thing before does not come back.
func TestDeletionWithoutRoom(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	for _, name := range []string{"old", "new"} {
		must(t, d.Put("a", &thing{name}), d.Put("b", &thing{name}), d.Put("c", &thing{name}))
	}
	s, cause := d.j.live["b"], errors.New("no room")
	must(t, d.j.cross("b", s, cause))
	want := map[string]string{"a": "new", "c": "new"}
	for range 2 {
		if got, damaged := names(t, d); !maps.Equal(got, want) || len(damaged) != 0 {
			t.Errorf("%v, damaged %v", got, damaged)
		}
		d = open(t, dir)
	}
	if err := d.j.cross("a", span{line: 10}, cause); err != cause {
		t.Errorf("a line that is too short was crossed out: %v", err)
	}
}

// A file that is being written anew while its last record goes stays empty, and a crossed line stays crossed.
func TestDeletionsWhileTheFileIsWrittenAnew(t *testing.T) {
	for _, crossed := range []bool{false, true} {
		dir := t.TempDir()
		d := open(t, dir)
		must(t, d.Put("a", &thing{"a"}))
		want := map[string]string{}
		if crossed {
			must(t, d.Put("b", &thing{"b"}))
			want["b"] = "b"
		}
		d.j.syncing.Lock()
		must(t, d.j.rewrite(func(b []byte) ([]byte, error) { // comes while the lines are read
			if crossed && len(d.j.live) == 2 {
				must(t, d.j.cross("a", d.j.live["a"], nil))
			} else if !crossed {
				must(t, d.j.delete("a"))
			}
			return b, nil
		}))
		d.j.syncing.Unlock()
		for range 2 {
			if got, damaged := names(t, d); !maps.Equal(got, want) || len(damaged) != 0 {
				t.Errorf("crossed %v: %v, damaged %v", crossed, got, damaged)
			}
			d = open(t, dir)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "*.new")); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	}
}

// What is added while the file is written anew is in the new one, and on disk only when it was committed.
func TestAddedWhileTheFileIsWrittenAnew(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	must(t, d.Put("a", &thing{"old"}), d.Put("a", &thing{"a"}), d.Put("b", &thing{"b"}), d.Put("goes", &thing{"x"}))
	long := strings.Repeat("x", 2*restful)
	added := false
	d.j.syncing.Lock()
	must(t, d.j.rewrite(func(b []byte) ([]byte, error) {
		if !added {
			must(t, d.Put("b", &thing{long}), d.Put("c", &thing{"c"}), d.Delete("goes"))
			added = true
		}
		return b, nil
	}))
	d.j.syncing.Unlock()
	want := map[string]string{"a": "a", "b": long, "c": "c"}
	if got, _ := names(t, d); !maps.Equal(got, want) {
		t.Errorf("%v", slices.Collect(maps.Keys(got)))
	}
	if now := d.j.base + d.j.end; d.j.synced >= now {
		t.Errorf("%d bytes are on disk of %d, and nobody committed the last", d.j.synced, now)
	}
	must(t, d.Commit("c", &thing{"later"}))
	want["c"] = "later"
	if now := d.j.base + d.j.end; d.j.synced != now {
		t.Errorf("%d bytes are on disk of %d", d.j.synced, now)
	}
	if got, _ := names(t, open(t, dir)); !maps.Equal(got, want) {
		t.Errorf("%v", slices.Collect(maps.Keys(got)))
	}
}

// The records of an earlier version, in files of their own, are taken over; of two the one put later, if it is whole.
func TestEarlierFilesAreTakenOver(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"a/record.json": `{"Name":"committed"}`, "a/latest.json": `{"Name":"put"}`,
		"b/record.json": `{"Name":"committed"}`, "b/latest.json": `{"Na`, "c/latest.json": "", "a/log": "kept"} {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700), os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	want := map[string]string{"a": "put", "b": "committed"}
	all, damaged, err := Look[thing](dir)
	if err != nil || len(all) != 2 || all["a"].Name != "put" || !slices.Equal(damaged, []string{"c"}) {
		t.Errorf("look: %v, damaged %v, %v", all, damaged, err)
	}
	d := open(t, dir)
	if got, damaged := names(t, d); !maps.Equal(got, want) || !slices.Equal(damaged, []string{"c"}) {
		t.Errorf("%v, damaged %v", got, damaged)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "a", "log")); string(b) != "kept" {
		t.Errorf("what lay beside is %q, %v", b, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*", "*.json")); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	must(t, d.Put("a", &thing{"later"}))
	if got, _ := names(t, open(t, dir)); got["a"] != "later" {
		t.Errorf("%v", got)
	}
}

// Whatever lies in the file, what is read of it can be read again, and lines that are added count.
func FuzzReplay(f *testing.F) {
	whole, _ := line(opPut, "a", []byte(`{"Name":"x"}`))
	gone, _ := line(opDelete, "a", nil)
	f.Add(whole)
	f.Add(append(bytes.Clone(whole), gone...))
	f.Add(append(whole[:9:9], whole...))
	f.Add([]byte("00000000 put a b\n"))
	f.Add([]byte("\n\n 8"))
	f.Fuzz(func(t *testing.T, text []byte) {
		live, end := replay(text)
		if end < 0 || end > int64(len(text)) {
			t.Fatalf("the end is %d of %d", end, len(text))
		}
		for id, s := range live {
			l := text[s.at : s.at+int64(s.line)]
			if _, got, record, ok := parse(l); !ok || got != id || !bytes.Equal(record, l[s.head:s.line-1]) {
				t.Errorf("%s is %q", id, l)
			}
		}
		again, _ := replay(append(bytes.Clone(text[:end]), whole...))
		if s, ok := again["a"]; !ok || s.at != end {
			t.Errorf("a line added after %q does not count", text[:end])
		}
	})
}
