package docker

import (
	"strings"
	"testing"

	dc "github.com/moby/moby/api/types/container"

	"nau/internal/kernel/idmap"
)

func TestCheckRemap(t *testing.T) {
	on := idmap.Block(100000, 100000, 65536)
	for _, c := range []struct {
		remap idmap.Map
		h     dc.HostConfig
		want  string
	}{
		{idmap.Map{}, dc.HostConfig{Privileged: true, NetworkMode: "host", PidMode: "host"}, ""},
		{on, dc.HostConfig{}, ""},
		{on, dc.HostConfig{UsernsMode: "host", Privileged: true, NetworkMode: "host", PidMode: "host", IpcMode: "host", UTSMode: "host"}, ""},
		{on, dc.HostConfig{Privileged: true}, "privileged mode is incompatible with user namespaces"},
		{on, dc.HostConfig{NetworkMode: "host"}, "host's network namespace"},
		{on, dc.HostConfig{PidMode: "host"}, "host PID namespace"},
		{on, dc.HostConfig{IpcMode: "host"}, "IPC namespace"},
		{on, dc.HostConfig{UTSMode: "host"}, "UTS namespace"},
		{on, dc.HostConfig{NetworkMode: "container:x", PidMode: "container:x"}, ""},
	} {
		err := checkRemap(c.remap, &c.h)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: %v, want %q", c.h, err, c.want)
		}
	}
}
