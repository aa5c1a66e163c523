package apiserver

import (
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	const ms = time.Millisecond
	tests := []struct {
		name  string
		every time.Duration // between events
		want  func(wait time.Duration) bool
	}{
		{"rare events are never kept waiting", 20 * ms, func(d time.Duration) bool { return d == 0 }},
		{"a stream is gathered, within bounds", 5 * ms, func(d time.Duration) bool { return d == gatherMost }},
		{"a torrent is gathered by number", ms / 2, func(d time.Duration) bool { return d > 2*ms && d < gatherMost }},
	}
	for _, tt := range tests {
		p := pace{interval: 8 * thick}
		now := time.Unix(0, 0)
		var wait time.Duration
		for i := range 50 {
			// What came during the wait is written after it.
			pause := max(wait, tt.every)
			now = now.Add(pause)
			wait = p.wrote(int(pause/tt.every), now)
			if i == 0 && wait != 0 {
				t.Errorf("%s: the first event delays the second by %v", tt.name, wait)
			}
		}
		if !tt.want(wait) {
			t.Errorf("%s: wait %v", tt.name, wait)
		}
	}
}
