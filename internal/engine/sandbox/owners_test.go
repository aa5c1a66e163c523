package sandbox

import (
	"strings"
	"testing"

	"nau/internal/kernel/idmap"
)

func TestCheckOwners(t *testing.T) {
	own := idmap.Block(100000, 100000, 65536)
	for _, c := range []struct {
		name string
		c    Config
		want string
	}{
		{"none", Config{HostNet: true, PID: Host, IPC: Host}, ""},
		{"own", Config{Owners: own, PID: Shared}, ""},
		{"network", Config{Owners: own, HostNet: true}, "host's network"},
		{"PID", Config{Owners: own, PID: Host}, "host's PID"},
		{"IPC", Config{Owners: own, IPC: Host}, "host's IPC"},
		{"no root", Config{Owners: idmap.Map{UIDs: own.UIDs}}, "group 0"},
	} {
		err := checkOwners(c.c)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
