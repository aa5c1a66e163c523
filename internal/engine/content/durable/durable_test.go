package durable

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func openAt(t *testing.T, dir, boot string, doubted *[]string) *Marks {
	t.Helper()
	here := func(n string) bool { return n != "gone" }
	m, err := open(dir, boot, here, func(n string) error { *doubted = append(*doubted, n); return nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

func marks(t *testing.T, dir string) (out []string) {
	t.Helper()
	es, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range es {
		out = append(out, e.Name())
	}
	return out
}

func TestMarksOverBoots(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "m")
	var doubted []string
	m := openAt(t, dir, "one", &doubted)
	for _, n := range []string{"a", "b"} {
		if err := m.Add(n); err != nil {
			t.Fatal(err)
		}
	}
	m.Drop("b")
	m.Drop("never")
	m.Close()
	m = openAt(t, dir, "one", &doubted) // the process died, the machine did not
	if doubted != nil || m.Pending() != 1 {
		t.Errorf("doubted %v, %d pending", doubted, m.Pending())
	}
	m.Close()
	m = openAt(t, dir, "two", &doubted)
	if !slices.Equal(doubted, []string{"a"}) || m.Pending() != 0 || marks(t, dir) != nil {
		t.Errorf("doubted %v, marks %v", doubted, marks(t, dir))
	}
}

// What a kill leaves between a mark and its thing, or between a removal and the mark's, does not wait for a sync.
func TestMarksOfNothing(t *testing.T) {
	dir := t.TempDir()
	var doubted []string
	m := openAt(t, dir, "one", &doubted)
	for _, boot := range []string{"one", "two"} {
		for _, n := range []string{"a", "gone"} {
			if err := m.Add(n); err != nil {
				t.Fatal(err)
			}
		}
		m.Close()
		m = openAt(t, dir, boot, &doubted)
		if boot == "one" && (m.Pending() != 1 || !slices.Equal(marks(t, dir), []string{"a.one"})) {
			t.Errorf("%d pending, marks %v", m.Pending(), marks(t, dir))
		}
	}
	if !slices.Equal(doubted, []string{"a"}) || marks(t, dir) != nil {
		t.Errorf("doubted %v, marks %v", doubted, marks(t, dir))
	}
}

func TestSyncComesOnceAndLater(t *testing.T) {
	dir := t.TempDir()
	var doubted []string
	m := openAt(t, dir, "one", &doubted)
	var fire func()
	armed := 0
	m.after = func(d time.Duration, f func()) *time.Timer {
		armed++
		fire = f
		return time.NewTimer(time.Hour)
	}
	m.Add("a")
	m.Add("b")
	if armed != 1 {
		t.Errorf("armed %d times", armed)
	}
	fire()
	if m.Pending() != 0 || marks(t, dir) != nil {
		t.Errorf("after the sync: %v", marks(t, dir))
	}
	m.Add("c")
	if armed != 2 {
		t.Errorf("armed %d times", armed)
	}
	// Marked again while a sync runs: the mark stays.
	m.mu.Lock()
	before := m.names["c"]
	m.mu.Unlock()
	m.Add("c")
	m.mu.Lock()
	err := m.drop("c", before)
	m.mu.Unlock()
	if err != nil || m.Pending() != 1 || len(marks(t, dir)) != 1 {
		t.Errorf("%v, marks %v", err, marks(t, dir))
	}
}
