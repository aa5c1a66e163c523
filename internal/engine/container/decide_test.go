package container

import (
	"syscall"
	"testing"

	"nau/internal/oci/monitor"
)

func TestDecide(t *testing.T) {
	for _, c := range []struct {
		state  State
		err    string
		status monitor.Status
		known  bool
		want   verdict
	}{
		{Created, "", "", false, fine},
		{Exited, "", "", false, fine},
		{Running, "", "", false, lost},
		{Paused, "", "", false, lost},
		{Running, "", monitor.Running, true, fine},
		{Paused, "", monitor.Paused, true, fine},
		{Running, "", monitor.Stopped, true, ended},
		{Created, "", monitor.Created, true, undone},
		{Created, "", monitor.Running, true, adopt},
		{Exited, "", monitor.Running, true, adopt},
		{Exited, "it did not start", monitor.Running, true, undone},
		{Created, "", monitor.Stopped, true, ended},
		{Running, "", monitor.Created, true, lost},
	} {
		if got := decide(&Record{State: c.state, Error: c.err}, c.status, c.known); got != c.want {
			t.Errorf("%s, monitor says %q (%v): got %s, want %s", c.state, c.status, c.known, got, c.want)
		}
	}
}

func TestParseSignal(t *testing.T) {
	for in, want := range map[string]syscall.Signal{"TERM": 15, "SIGTERM": 15, "sigquit": 3, "9": 9, "RTMIN+3": 37, "SIGRTMIN": 34, "SIGRTMAX-14": 50, "SIGRTMAX": 64, "SIGCLD": 17, "POLL": 29} {
		if got, err := ParseSignal(in); err != nil || got != want {
			t.Errorf("%s: got %d, %v; want %d", in, got, err, want)
		}
	}
	for _, bad := range []string{"", "0", "65", "SIGWHAT", "RTMIN+40", "-1"} {
		if got, err := ParseSignal(bad); err == nil {
			t.Errorf("%q: got %d", bad, got)
		}
	}
}
