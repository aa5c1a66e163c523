package cdi

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

var hookNames = []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"}

// Inject puts devices into a specification. All that cannot be found are named in the error.
func (r *Registry) Inject(s *specs.Spec, names []string) error {
	var missing []string
	var edits []Edits
	kinds := map[string]bool{}
	for _, n := range names {
		d, ok := r.devices[n]
		switch {
		case !ok:
			missing = append(missing, n)
			continue
		case d.twice:
			return fmt.Errorf("CDI device injection failed: two descriptions name %s", n)
		}
		if !kinds[d.kind] {
			edits = append(edits, d.edits[0])
		}
		kinds[d.kind] = true
		edits = append(edits, d.edits[1])
	}
	if len(missing) > 0 {
		return errors.Join(append([]error{fmt.Errorf("CDI device injection failed: %w %s", ErrUnresolvable, strings.Join(missing, ", "))}, r.bad...)...)
	}
	for _, e := range edits {
		if err := e.apply(s); err != nil {
			return fmt.Errorf("CDI device injection failed: %w", err)
		}
	}
	return nil
}

func (e Edits) apply(s *specs.Spec) error {
	for _, kv := range e.Env {
		name, _, _ := strings.Cut(kv, "=")
		s.Process.Env = append(slices.DeleteFunc(s.Process.Env, func(have string) bool { return strings.HasPrefix(have, name+"=") }), kv)
	}
	for _, n := range e.Nodes {
		if err := n.apply(s); err != nil {
			return err
		}
	}
	for _, m := range e.Mounts {
		at := path.Clean(m.ContainerPath)
		kind := m.Type
		if kind == "" {
			kind = "bind"
		}
		options := m.Options
		if kind == "bind" && !slices.Contains(options, "bind") && !slices.Contains(options, "rbind") {
			options = append([]string{"rbind"}, options...)
		}
		s.Mounts = append(slices.DeleteFunc(s.Mounts, func(have specs.Mount) bool { return have.Destination == at }),
			specs.Mount{Destination: at, Source: m.HostPath, Type: kind, Options: options})
	}
	if len(e.Mounts) > 0 {
		// What lies deeper comes later, so that nothing is hidden by its own parent.
		slices.SortStableFunc(s.Mounts, func(a, b specs.Mount) int {
			return strings.Count(path.Clean(a.Destination), "/") - strings.Count(path.Clean(b.Destination), "/")
		})
	}
	if len(e.Hooks) > 0 && s.Hooks == nil {
		s.Hooks = &specs.Hooks{}
	}
	for _, h := range e.Hooks {
		hook := specs.Hook{Path: h.Path, Args: h.Args, Env: h.Env, Timeout: h.Timeout}
		to := map[string]*[]specs.Hook{"prestart": &s.Hooks.Prestart, "createRuntime": &s.Hooks.CreateRuntime, "createContainer": &s.Hooks.CreateContainer, //nolint:staticcheck // descriptions may name it
			"startContainer": &s.Hooks.StartContainer, "poststart": &s.Hooks.Poststart, "poststop": &s.Hooks.Poststop}[h.Name]
		*to = append(*to, hook)
	}
	for _, g := range e.Groups {
		if !slices.Contains(s.Process.User.AdditionalGids, g) && g != 0 {
			s.Process.User.AdditionalGids = append(s.Process.User.AdditionalGids, g)
		}
	}
	if r := e.RDT; r != nil {
		s.Linux.IntelRdt = &specs.LinuxIntelRdt{ClosID: r.ClosID, L3CacheSchema: r.L3CacheSchema, MemBwSchema: r.MemBwSchema}
	}
	return nil
}

func (n Node) apply(s *specs.Spec) error {
	from := n.HostPath
	if from == "" {
		from = n.Path
	}
	d := specs.LinuxDevice{Path: path.Clean(n.Path), Type: n.Type, Major: n.Major, Minor: n.Minor, UID: n.UID, GID: n.GID}
	if n.FileMode != nil {
		mode := os.FileMode(*n.FileMode)
		d.FileMode = &mode
	}
	if d.Type != "p" && (d.Type == "" || d.Major == 0 && d.Minor == 0) {
		var st unix.Stat_t
		if err := unix.Stat(from, &st); err != nil {
			return fmt.Errorf("look at device node %s: %w", from, err)
		}
		kind := map[uint32]string{unix.S_IFBLK: "b", unix.S_IFCHR: "c", unix.S_IFIFO: "p"}[st.Mode&unix.S_IFMT]
		if kind == "" || d.Type != "" && d.Type != kind && (d.Type != "u" || kind != "c") {
			return fmt.Errorf("look at device node %s: it is not of type %q", from, d.Type)
		}
		d.Type, d.Major, d.Minor = kind, int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
		if d.FileMode == nil {
			mode := os.FileMode(st.Mode & 0o777)
			d.FileMode = &mode
		}
	}
	if d.UID == nil && s.Process.User.UID != 0 {
		d.UID = &s.Process.User.UID
	}
	if d.GID == nil && s.Process.User.GID != 0 {
		d.GID = &s.Process.User.GID
	}
	s.Linux.Devices = append(slices.DeleteFunc(s.Linux.Devices, func(have specs.LinuxDevice) bool { return have.Path == d.Path }), d)
	if d.Type == "b" || d.Type == "c" {
		access := n.Permissions
		if access == "" {
			access = "rwm"
		}
		if s.Linux.Resources == nil {
			s.Linux.Resources = &specs.LinuxResources{}
		}
		s.Linux.Resources.Devices = append(s.Linux.Resources.Devices, specs.LinuxDeviceCgroup{Allow: true, Type: d.Type, Major: &d.Major, Minor: &d.Minor, Access: access})
	}
	return nil
}
