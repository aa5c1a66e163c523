package docker

import (
	"os"
	"testing"

	dc "github.com/moby/moby/api/types/container"
)

// What checks found outlives the server: of what runs, that it has checks; of what ended, the results; of what is gone, nothing.
func TestHealthOutlivesTheServer(t *testing.T) {
	dir := t.TempDir()
	var x checks
	state := map[string]bool{"runs": true, "ended": true, "gone": true, "cut": true}
	look := func(id string) (int, bool, bool) { yes, known := state[id]; return 1, yes, known }
	if err := x.open(dir, look); err != nil {
		t.Fatal(err)
	}
	found := dc.Health{Status: dc.Healthy, FailingStreak: 2, Log: []*dc.HealthcheckResult{{ExitCode: 3, Output: "out"}}}
	for id := range state {
		c := &check{stop: func() {}, run: 1, doc: found}
		if err := x.keep(id, c.doc); err != nil {
			t.Fatal(err)
		}
		x.all[id] = c
	}
	state["ended"], state["cut"] = false, false
	if err := x.stop("ended", 1); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/cut", []byte(`{"Status":`), 0o600); err != nil {
		t.Fatal(err)
	}
	delete(state, "gone")
	var y checks
	if err := y.open(dir, look); err != nil {
		t.Fatal(err)
	}
	if d := y.doc("runs", 1); d == nil || d.Status != dc.Starting || d.FailingStreak != 0 || len(d.Log) != 0 {
		t.Errorf("what runs: %+v", d)
	}
	if d := y.doc("ended", 1); d == nil || d.Status != dc.Unhealthy || len(d.Log) != 1 || d.Log[0].Output != "out" {
		t.Errorf("what ended: %+v", d)
	}
	if d := y.doc("cut", 1); d == nil || d.Status != dc.Unhealthy {
		t.Errorf("what was cut off: %+v", d)
	}
	if d := y.doc("ended", 2); d.Status != dc.Starting {
		t.Errorf("a new run: %+v", d)
	}
	if _, err := os.Stat(dir + "/gone"); y.doc("gone", 1) != nil || err == nil {
		t.Error("what is gone is told of")
	}
}
