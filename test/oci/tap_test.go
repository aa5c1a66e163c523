package main

import (
	"errors"
	"testing"
)

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		name, out string
		err       error
		late      bool
		want      string
		good      bool
	}{
		{"all well", "TAP version 13\nok 1 - a\nok 2\n1..2\n", nil, false, "2 ok", true},
		{"one fails", "ok 1 - a\nnot ok 2 - b\n  ---\n", nil, false, "**1 of 2 fail**", false},
		{"stops", "cannot create\n", errors.New("exit status 1"), false, "**fails**", false},
		{"stops late", "ok 1\ncannot create\n", errors.New("exit status 1"), false, "**fails** after 1", false},
		{"hangs", "ok 1\n", errors.New("killed"), true, "**no end**", false},
		{"skips", "1..1\nok 1 # SKIP no cgroup\n", nil, false, "skips", false},
		{"only remarks", "TAP version 13\n  ---\n  {\n    \"error\": \"hooks in order\"\n  }\n1..0\n", nil, false, "**fails**", false},
		{"says nothing", "", nil, false, "ok", true},
	} {
		v := judge(c.out, c.err, c.late)
		if v.cell() != c.want || v.good() != c.good {
			t.Errorf("%s: %q, %t; want %q, %t", c.name, v.cell(), v.good(), c.want, c.good)
		}
	}
}
