package build

import (
	"slices"
	"testing"
)

// A step's container has the shell and, of what runs nothing, a note in its arguments.
func TestClassicArgs(t *testing.T) {
	for _, c := range []struct {
		shell   []string
		history string
		want    []string
	}{
		{nil, "/bin/sh -c #(nop)  ENV A=b", []string{"/bin/sh", "-c", "#(nop) ", "ENV A=b"}},
		{nil, "/bin/sh -c #(nop) WORKDIR /x", []string{"/bin/sh", "-c", "#(nop) WORKDIR /x"}},
		{[]string{"/bin/bash", "-ec"}, "/bin/bash -ec #(nop)  CMD [\"a\"]", []string{"/bin/bash", "-ec", "#(nop) ", "CMD [\"a\"]"}},
	} {
		if got := classicArgs(c.shell, c.history); !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.history, got, c.want)
		}
	}
}
