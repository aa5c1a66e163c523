package docker

import (
	"testing"

	dc "github.com/moby/moby/api/types/container"
	dm "github.com/moby/moby/api/types/mount"

	"nau/internal/engine/spec"
)

func TestBindsAroundTheEnginesState(t *testing.T) {
	for _, c := range []struct {
		source string
		asked  dm.Propagation
		want   dm.Propagation // "" = refused
	}{
		{"/", "", dm.PropagationRSlave}, {"/var", "", dm.PropagationRSlave}, {"/var/lib/nau", "", dm.PropagationRSlave}, {"/var/lib/nau/volumes/x", "", dm.PropagationRSlave}, {"/run/nau", "", dm.PropagationRSlave},
		{"/var/lib/nautilus", "", dm.PropagationRPrivate}, {"/srv", "", dm.PropagationRPrivate}, {"/srv", dm.PropagationPrivate, dm.PropagationPrivate},
		{"/var/lib", dm.PropagationRShared, dm.PropagationRShared}, {"/var/lib", dm.PropagationRSlave, dm.PropagationRSlave},
		{"/var/lib", dm.PropagationRPrivate, ""}, {"/var/lib", dm.PropagationSlave, ""}, {"/", dm.PropagationShared, ""},
	} {
		w := wish{point: dc.MountPoint{Type: dm.TypeBind, Propagation: dm.PropagationRPrivate}, mount: spec.Mount{Source: c.source}}
		if c.asked != "" {
			w.point.Propagation, w.mount.Propagation = c.asked, propagation(c.asked)
		}
		all := []wish{w}
		err := aroundState(all, "/var/lib/nau", "/run/nau")
		if got := all[0].point.Propagation; (err != nil) != (c.want == "") || err == nil && got != c.want {
			t.Errorf("%s with %q: %q, %v, want %q", c.source, c.asked, got, err, c.want)
		}
	}
}
