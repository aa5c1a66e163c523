package main

import (
	"fmt"
	"strings"
)

// verdict is what one program said of one runtime.
type verdict struct {
	ok, notOK, skipped int
	timedOut           bool
	failed             []string // what it said of each failure
	all                string
}

// good tells whether all held. Some programs speak only of what does not.
func (v verdict) good() bool {
	return !v.timedOut && len(v.failed) == 0 && (v.ok > 0 || v.skipped == 0)
}

func (v verdict) cell() string {
	switch {
	case v.timedOut:
		return "**no end**"
	case len(v.failed) > 0 && v.ok+v.notOK == 0:
		return "**fails**"
	case v.notOK > 0:
		return fmt.Sprintf("**%d of %d fail**", v.notOK, v.ok+v.notOK)
	case len(v.failed) > 0:
		return fmt.Sprintf("**fails** after %d", v.ok)
	case v.ok == 0 && v.skipped > 0:
		return "skips"
	case v.ok == 0:
		return "ok"
	}
	return fmt.Sprintf("%d ok", v.ok)
}

// judge reads TAP: "ok N - text", "not ok N - text", "# SKIP". A program that stops with an error and no failed line fails as a whole.
func judge(out string, err error, timedOut bool) verdict {
	v := verdict{timedOut: timedOut, all: out}
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		switch {
		case strings.Contains(line, "# SKIP"):
			v.skipped++
		case strings.HasPrefix(line, "ok "):
			v.ok++
		case strings.HasPrefix(line, "not ok "):
			v.notOK++
			v.failed = append(v.failed, strings.TrimPrefix(line, "not ok "))
		}
	}
	if (err != nil || timedOut) && len(v.failed) == 0 {
		lines := strings.Split(strings.TrimSpace(out), "\n")
		v.failed = append(v.failed, fmt.Sprintf("%v: %s", err, lines[len(lines)-1]))
	}
	if v.ok+v.notOK+v.skipped == 0 && len(v.failed) == 0 {
		// Some programs print what was wrong as a remark, and no line that counts.
		if _, after, ok := strings.Cut(out, `"error": "`); ok {
			text, _, _ := strings.Cut(after, "\n")
			v.failed = append(v.failed, strings.Trim(text, `"`))
		}
	}
	return v
}
