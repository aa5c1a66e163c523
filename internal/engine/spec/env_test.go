package spec

import (
	"slices"
	"testing"
)

func TestOverlayEnv(t *testing.T) {
	for _, c := range []struct{ base, over, want []string }{
		{[]string{"A=1", "B=2"}, []string{"A=3", "C=4"}, []string{"A=3", "B=2", "C=4"}},
		{[]string{"A=1", "B=2"}, []string{"A"}, []string{"B=2"}},
		{[]string{"A=1"}, []string{"A", "A=2", "=x", ""}, []string{"A=2"}},
		{[]string{"A=1", "A=2"}, nil, []string{"A=2"}},
	} {
		if got := OverlayEnv(c.base, c.over); !slices.Equal(got, c.want) {
			t.Errorf("%q over %q: %q, want %q", c.over, c.base, got, c.want)
		}
	}
	if !Names([]string{"AB=1", "A=2"}, "A") || Names([]string{"AB=1", "A"}, "A") {
		t.Error("a variable's name is not told apart")
	}
}
