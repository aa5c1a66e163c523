package docker

import (
	"encoding/json"
	"testing"
	"time"

	dc "github.com/moby/moby/api/types/container"

	"nau/internal/engine/container"
)

// A list of many containers that ended reads the definitions of none of them to know that they do not come again.
func TestBetweenReadsNoDefinition(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		policy string
		code   int
		want   bool
	}{
		"none":                  {"", 1, false},
		"no":                    {"no", 1, false},
		"on failure, none":      {"on-failure", 0, false},
		"on failure, a failure": {"on-failure", 1, true},
		"always":                {"always", 0, true},
	} {
		host := &dc.HostConfig{RestartPolicy: dc.RestartPolicy{Name: dc.RestartPolicyMode(c.policy)}}
		extra, err := json.Marshal(stored{Host: host})
		if err != nil {
			t.Fatal(err)
		}
		r := &container.Record{ID: "a", State: container.Exited, ExitCode: c.code, Started: now, Finished: now,
			Config: container.Config{Origin: Origin, Extra: extra, Restart: restartPolicy(host)}}
		s := &Server{}
		if got := s.between(r); got != c.want {
			t.Errorf("%s: between two runs: %v", name, got)
		}
		if read := unpacked.find(&extra[0]) != nil; read != r.Config.Restart.Wanted() {
			t.Errorf("%s: its definition was read: %v", name, read)
		}
	}
}
