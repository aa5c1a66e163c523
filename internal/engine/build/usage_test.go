package build

import (
	"slices"
	"testing"
	"time"
)

func TestChoose(t *testing.T) {
	now := time.Unix(1e9, 0)
	list := []Usage{
		{ID: "old", Size: 10, Used: now.Add(-3 * time.Hour)},
		{ID: "busy", Size: 10, Used: now.Add(-3 * time.Hour), InUse: true},
		{ID: "shared", Size: 10, Used: now.Add(-2 * time.Hour), Shared: true},
		{ID: "new", Size: 10, Used: now.Add(-time.Minute)},
	}
	for _, c := range []struct {
		name string
		o    PruneOptions
		want []string
	}{
		{"what nothing else has", PruneOptions{}, []string{"old", "new"}},
		{"all", PruneOptions{All: true}, []string{"old", "shared", "new"}},
		{"old ones", PruneOptions{All: true, MinAge: time.Hour}, []string{"old", "shared"}},
		{"down to a size", PruneOptions{All: true, Reserved: 25}, []string{"old", "shared"}},
		{"it is small enough", PruneOptions{All: true, Max: 40}, nil},
		{"below a size", PruneOptions{All: true, Max: 20}, []string{"old", "shared"}},
		{"below a size, but for what is reserved", PruneOptions{All: true, Max: 20, Reserved: 30}, []string{"old"}},
		{"what is shared does not count where it is not meant", PruneOptions{Max: 20}, []string{"old"}},
		{"the disk is free enough", PruneOptions{MinFree: 100, Free: 100}, nil},
		{"one frees enough", PruneOptions{MinFree: 100, Free: 90}, []string{"old"}},
		{"nothing frees enough", PruneOptions{MinFree: 100, Free: 5}, []string{"old", "new"}},
		{"what is reserved stays on a full disk", PruneOptions{MinFree: 100, Reserved: 20}, []string{"old"}},
		{"size and disk", PruneOptions{Max: 20, MinFree: 100, Free: 85}, []string{"old", "new"}},
		{"kept by a filter", PruneOptions{Keep: func(u Usage) bool { return u.ID == "old" }}, []string{"new"}},
	} {
		var got []string
		for _, u := range choose(list, c.o, now) {
			got = append(got, u.ID)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v go, want %v", c.name, got, c.want)
		}
	}
}
