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
