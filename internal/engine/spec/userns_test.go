package spec

import (
	"slices"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// No node is made for a user namespace's root: what is asked for is the host's own, and privileged has none of the host's.
func TestDevicesOfUserNamespace(t *testing.T) {
	all := func() ([]specs.LinuxDevice, error) {
		return []specs.LinuxDevice{{Path: "/dev/sda", Type: "b", Major: 8}}, nil
	}
	for _, remapped := range []bool{false, true} {
		in := Input{Process: Process{Args: []string{"x"}}, Security: Security{Privileged: true}, Devices: []Device{{Host: "/dev/zero", Container: "/dev/z"}},
			Rootfs: "/r", Host: Host{HostDevices: all}}
		if remapped {
			in.Namespaces.User = "/ns/user"
			in.Namespaces.UIDs = []specs.LinuxIDMapping{{HostID: 100000, Size: 65536}}
			in.Namespaces.GIDs = in.Namespaces.UIDs
		}
		s, err := Build(in)
		if err != nil {
			t.Fatal(err)
		}
		made := func(path string) bool {
			return slices.ContainsFunc(s.Linux.Devices, func(d specs.LinuxDevice) bool { return d.Path == path })
		}
		bound := slices.ContainsFunc(s.Mounts, func(m specs.Mount) bool {
			return m.Destination == "/dev/z" && m.Source == "/dev/zero" && slices.Contains(m.Options, "bind")
		})
		if made("/dev/sda") == remapped || made("/dev/z") == remapped || bound != remapped {
			t.Errorf("remapped %v: devices %v, bound %v", remapped, s.Linux.Devices, bound)
		}
		joins := slices.Contains(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace, Path: "/ns/user"})
		if joins != remapped || len(s.Linux.UIDMappings) > 0 != remapped {
			t.Errorf("remapped %v: namespaces %v, mappings %v", remapped, s.Linux.Namespaces, s.Linux.UIDMappings)
		}
		if open := s.Linux.Resources.Devices[0].Allow; open == remapped {
			t.Errorf("remapped %v: device rules begin with %v", remapped, s.Linux.Resources.Devices[0])
		}
	}
}
