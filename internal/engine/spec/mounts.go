package spec

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

const defaultShm = 64 << 20

// mounts writes the default mounts and the wished ones, a wish replacing the default on the same target.
func mounts(in Input, s *specs.Spec) error {
	ro := "ro"
	if in.Security.Privileged {
		ro = "rw"
	}
	cgroup := ro
	if in.Security.WritableCgroups {
		cgroup = "rw"
	}
	all := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", ro}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", cgroup}},
	}
	switch {
	case in.NoShm:
	case in.ShmDir != "":
		all = append(all, specs.Mount{Destination: "/dev/shm", Type: "bind", Source: in.ShmDir, Options: []string{"rbind", "rw"}})
	default:
		size := in.ShmSize
		if size == 0 {
			size = defaultShm
		}
		all = append(all, specs.Mount{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=" + strconv.FormatInt(size, 10)}})
	}
	for _, f := range [][2]string{{"/etc/resolv.conf", in.ResolvConf}, {"/etc/hostname", in.HostnameFile}, {"/etc/hosts", in.Hosts}} {
		if f[1] != "" {
			opts := []string{"rbind", "rprivate", "rw"}
			if in.Security.ReadOnlyRoot {
				opts[2] = "ro"
			}
			all = append(all, specs.Mount{Destination: f[0], Type: "bind", Source: f[1], Options: opts})
		}
	}
	var wished []specs.Mount
	for _, m := range in.Mounts {
		o, err := m.oci(in.Host)
		if err != nil {
			return err
		}
		all = slices.DeleteFunc(all, func(d specs.Mount) bool { return d.Destination == o.Destination })
		// A file of ours is over a folder that covers its place: /etc/resolv.conf over a volume at /etc.
		all = slices.DeleteFunc(all, func(d specs.Mount) bool {
			covered := d.Type == "bind" && strings.HasPrefix(d.Destination, o.Destination+"/")
			if covered {
				wished = append(wished, d)
			}
			return covered
		})
		wished = append(wished, o)
		switch {
		case m.Propagation == PropagateShared:
			s.Linux.RootfsPropagation = "rshared"
		case m.Propagation == PropagateSlave && s.Linux.RootfsPropagation == "":
			s.Linux.RootfsPropagation = "rslave"
		}
	}
	// What lies deeper comes later, so that nothing is hidden by its own parent.
	slices.SortStableFunc(wished, func(a, b specs.Mount) int {
		return strings.Count(a.Destination, "/") - strings.Count(b.Destination, "/")
	})
	s.Mounts = append(all, wished...)
	return nil
}

func (m Mount) oci(host Host) (specs.Mount, error) {
	if !path.IsAbs(m.Target) {
		return specs.Mount{}, fmt.Errorf("mount %s at %q: the target is not absolute", m.Source, m.Target)
	}
	o := specs.Mount{Destination: path.Clean(m.Target), Source: m.Source, Type: m.Type, UIDMappings: m.UIDs, GIDMappings: m.GIDs}
	if m.Type != "" && m.Type != "bind" {
		o.Options = slices.Clone(m.Options)
		if m.ReadOnly {
			o.Options = append(o.Options, "ro")
		}
		if o.Source == "" {
			o.Source = m.Type
		}
		return o, nil
	}
	if !path.IsAbs(m.Source) {
		return o, fmt.Errorf("mount %q at %s: the source is not absolute", m.Source, m.Target)
	}
	o.Type = "bind"
	o.Options = []string{"rbind"}
	if m.NonRecursive {
		o.Options[0] = "bind"
	}
	propagation := m.Propagation
	if propagation == "" {
		propagation = PropagatePrivate
	}
	o.Options = append(o.Options, string(propagation))
	switch {
	case m.ReadOnly && m.RecursiveReadOnly:
		if !host.RecursiveRO {
			return o, fmt.Errorf("mount %s at %s recursively read-only: this kernel cannot (needs Linux 5.12)", m.Source, m.Target)
		}
		if propagation != PropagatePrivate {
			return o, fmt.Errorf("mount %s at %s recursively read-only: needs private propagation", m.Source, m.Target)
		}
		o.Options = append(o.Options, "rro")
	case m.RecursiveReadOnly:
		return o, fmt.Errorf("mount %s at %s: recursively read-only needs read-only", m.Source, m.Target)
	case m.ReadOnly:
		o.Options = append(o.Options, "ro")
	default:
		o.Options = append(o.Options, "rw")
	}
	o.Options = append(o.Options, m.Options...)
	return o, nil
}

// deviceRules are what every container may use: the standard nodes, its terminals, and making (not opening) of any node.
func deviceRules() []specs.LinuxDeviceCgroup {
	rule := func(kind string, major, minor int64, access string) specs.LinuxDeviceCgroup {
		r := specs.LinuxDeviceCgroup{Allow: true, Type: kind, Access: access}
		if major >= 0 {
			r.Major = &major
		}
		if minor >= 0 {
			r.Minor = &minor
		}
		return r
	}
	return []specs.LinuxDeviceCgroup{
		{Allow: false, Access: "rwm"},
		rule("c", -1, -1, "m"), rule("b", -1, -1, "m"),
		rule("c", 1, 3, "rwm"), rule("c", 1, 5, "rwm"), rule("c", 1, 7, "rwm"), rule("c", 1, 8, "rwm"), rule("c", 1, 9, "rwm"),
		rule("c", 5, 0, "rwm"), rule("c", 5, 2, "rwm"), rule("c", 136, -1, "rwm"),
	}
}

func devices(in Input, s *specs.Spec) error {
	s.Linux.Resources = &specs.LinuxResources{}
	remapped := in.Namespaces.User != "" || len(in.Namespaces.UIDs) > 0
	if in.Security.Privileged && !remapped {
		s.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}
		if in.Host.HostDevices != nil {
			all, err := in.Host.HostDevices()
			if err != nil {
				return fmt.Errorf("list devices of the host: %w", err)
			}
			s.Linux.Devices = all
		}
	} else {
		s.Linux.Resources.Devices = deviceRules()
	}
	for _, d := range in.Devices {
		found, err := ReadDevices(d.Host, first(d.Container, d.Host))
		if err != nil {
			return fmt.Errorf("add device %s: %w", d.Host, err)
		}
		access := first(d.Permissions, "rwm")
		for _, f := range found {
			if remapped {
				s.Mounts = append(s.Mounts, nodeBind(d, f))
				s.Linux.Resources.Devices = append(s.Linux.Resources.Devices,
					specs.LinuxDeviceCgroup{Allow: true, Type: f.Type, Major: &f.Major, Minor: &f.Minor, Access: access})
				continue
			}
			s.Linux.Devices = slices.DeleteFunc(s.Linux.Devices, func(o specs.LinuxDevice) bool { return o.Path == f.Path })
			s.Linux.Devices = append(s.Linux.Devices, f)
			if !in.Security.Privileged {
				s.Linux.Resources.Devices = append(s.Linux.Resources.Devices,
					specs.LinuxDeviceCgroup{Allow: true, Type: f.Type, Major: &f.Major, Minor: &f.Minor, Access: access})
			}
		}
	}
	return nil
}

// nodeBind shows the host's own node to a user namespace: who may open it is the host's owner and mode. A node made for the container would belong to
// the container's root, and open what the host's administrator never gave it.
func nodeBind(d Device, node specs.LinuxDevice) specs.Mount {
	rel := strings.TrimPrefix(node.Path, path.Clean(first(d.Container, d.Host)))
	return specs.Mount{Destination: node.Path, Type: "bind", Source: filepath.Clean(d.Host) + rel, Options: []string{"bind", "rprivate", "rw", "dev"}}
}

// ReadDevices describes the device node at host, or all nodes below it when it is a folder, as nodes at inside.
func ReadDevices(host, inside string) ([]specs.LinuxDevice, error) {
	var out []specs.LinuxDevice
	host, err := filepath.EvalSymlinks(host)
	if err != nil {
		return nil, err
	}
	err = filepath.WalkDir(host, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			if p == host || !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			return nil
		}
		if d.IsDir() {
			switch filepath.Base(p) {
			case "pts", "shm", "fd", "mqueue", ".lxc", ".udev":
				if p != host {
					return fs.SkipDir
				}
			}
			return nil
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return nil // it went away
		}
		var kind string
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFBLK:
			kind = "b"
		case unix.S_IFCHR:
			kind = "c"
		default:
			if p == host {
				return errors.New("not a device node")
			}
			return nil
		}
		rel, _ := filepath.Rel(host, p)
		mode := os.FileMode(st.Mode & 0o7777)
		out = append(out, specs.LinuxDevice{Path: path.Join(inside, rel), Type: kind, Major: int64(unix.Major(st.Rdev)), Minor: int64(unix.Minor(st.Rdev)),
			FileMode: &mode, UID: &st.Uid, GID: &st.Gid})
		return nil
	})
	if err == nil && len(out) == 0 {
		err = errors.New("not a device node")
	}
	return out, err
}

// HostDevices lists the host's device nodes, for privileged containers. /dev/console is the host's own terminal and left out.
func HostDevices() ([]specs.LinuxDevice, error) {
	all, err := ReadDevices("/dev", "/dev")
	return slices.DeleteFunc(all, func(d specs.LinuxDevice) bool {
		return d.Path == "/dev/console" || d.Path == "/dev/ptmx"
	}), err
}
