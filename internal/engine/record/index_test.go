package record

import "testing"

func TestIndex(t *testing.T) {
	var x Index[int]
	if owner, ok := x.Reserve("web", "abc1"); !ok || owner != "abc1" {
		t.Errorf("a free name: %q, %v", owner, ok)
	}
	x.Put("abc1", 1)
	x.Put("abc2", 2)
	x.Put("web2", 3) // its ID begins like a name
	for range 2 {    // no name is nobody's
		if _, ok := x.Reserve("", "abc2"); !ok {
			t.Error("no name is taken")
		}
	}
	if owner, ok := x.Reserve("web", "abc2"); ok || owner != "abc1" {
		t.Errorf("a name that is taken: %q, %v", owner, ok)
	}
	if _, ok := x.Reserve("soon", "abc9"); !ok { // of something that is being made
		t.Error("a free name is taken")
	}
	for _, c := range []struct {
		key     string
		want    int
		matches int
	}{{"abc1", 1, 1}, {"web", 1, 1}, {"web2", 3, 1}, {"we", 3, 1}, {"abc", 0, 2}, {"abc2", 2, 1}, {"x", 0, 0}, {"", 0, 0}, {"soon", 0, 0}} {
		if got, matches := x.Find(c.key); got != c.want || matches != c.matches {
			t.Errorf("find %q: %d, %d matches; want %d, %d", c.key, got, matches, c.want, c.matches)
		}
	}
	if got, ok := x.Named("web"); got != 1 || !ok {
		t.Errorf("named: %d, %v", got, ok)
	}
	if _, ok := x.Named("abc1"); ok {
		t.Error("an ID is a name")
	}
	x.Release("web", "abc2") // not its own
	if _, matches := x.Find("web"); matches != 1 {
		t.Error("a name was released by another")
	}
	x.Remove("abc1", "web")
	if got, matches := x.Find("abc"); got != 2 || matches != 1 {
		t.Errorf("after the removal: %d, %d matches", got, matches)
	}
	if owner, ok := x.Reserve("web", "abc2"); !ok || owner != "abc2" {
		t.Errorf("a name that is free again: %q, %v", owner, ok)
	}
	sum := 0
	for _, e := range x.All() {
		sum += e
	}
	if sum != 5 || x.Len() != 2 {
		t.Errorf("all: sum %d of %d", sum, x.Len())
	}
}
