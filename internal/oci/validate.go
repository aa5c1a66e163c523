package oci

import (
	"errors"
	"fmt"
	"path"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Validate tells everything that is wrong with a configuration, as far as it can be seen without the machine.
func Validate(s *specs.Spec) error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...))
	}
	if s.Version == "" {
		bad("ociVersion is missing")
	} else if !strings.HasPrefix(s.Version, "1.") {
		bad("ociVersion %q: only 1.x is supported", s.Version)
	}
	if s.Root == nil || s.Root.Path == "" {
		bad("root.path is missing")
	}
	if p := s.Process; p != nil {
		if len(p.Args) == 0 {
			bad("process.args is empty")
		}
		if !path.IsAbs(p.Cwd) {
			bad("process.cwd %q is not absolute", p.Cwd)
		}
		seen := map[string]bool{}
		for _, l := range p.Rlimits {
			if _, ok := limits[l.Type]; !ok {
				bad("process.rlimits: %q is unknown", l.Type)
			}
			if seen[l.Type] {
				bad("process.rlimits: %s is given twice", l.Type)
			}
			seen[l.Type] = true
			if l.Soft > l.Hard {
				bad("process.rlimits: %s: soft limit is above the hard one", l.Type)
			}
		}
		if p.OOMScoreAdj != nil && (*p.OOMScoreAdj < -1000 || *p.OOMScoreAdj > 1000) {
			bad("process.oomScoreAdj %d is not in -1000…1000", *p.OOMScoreAdj)
		}
		if io := p.IOPriority; io != nil && (io.Priority < 0 || io.Priority > 7) {
			bad("process.ioPriority: priority %d is not in 0…7", io.Priority)
		}
		if _, err := planAffinity(p.ExecCPUAffinity); err != nil {
			errs = append(errs, err)
		}
	}
	for _, m := range s.Mounts {
		if m.Destination == "" {
			bad("mounts: a destination is missing")
		}
	}
	errs = append(errs, validateHooks(s.Hooks)...)
	l := s.Linux
	if l == nil {
		bad("linux is missing")
		return errors.Join(errs...)
	}
	has := map[specs.LinuxNamespaceType]*specs.LinuxNamespace{}
	for i := range l.Namespaces {
		ns := &l.Namespaces[i]
		if _, ok := kinds[ns.Type]; !ok {
			bad("linux.namespaces: type %q is unknown", ns.Type)
		}
		if has[ns.Type] != nil {
			bad("linux.namespaces: %s is given twice", ns.Type)
		}
		if ns.Path != "" && !path.IsAbs(ns.Path) {
			bad("linux.namespaces: path %q is not absolute", ns.Path)
		}
		has[ns.Type] = ns
	}
	if has[specs.MountNamespace] == nil && has[specs.UserNamespace] != nil {
		bad("linux.namespaces: a user namespace may not mount in the runtime's mount namespace; give the container a mount namespace")
	}
	if (s.Hostname != "" || s.Domainname != "") && has[specs.UTSNamespace] == nil {
		bad("hostname: there is no UTS namespace to set it in")
	}
	if (len(l.UIDMappings) > 0 || len(l.GIDMappings) > 0) && has[specs.UserNamespace] == nil {
		bad("linux.uidMappings: there is no user namespace")
	}
	if len(l.TimeOffsets) > 0 && (has[specs.TimeNamespace] == nil || has[specs.TimeNamespace].Path != "") {
		bad("linux.timeOffsets: there is no new time namespace")
	}
	for name := range l.Sysctl {
		if err := validateSysctl(name, has); err != nil {
			errs = append(errs, err)
		}
	}
	for _, d := range l.Devices {
		if !path.IsAbs(d.Path) {
			bad("linux.devices: path %q is not absolute", d.Path)
		}
		switch d.Type {
		case "c", "u", "b", "p":
		default:
			bad("linux.devices: %s: type %q is none of c, u, b, p", d.Path, d.Type)
		}
	}
	for _, p := range append(append([]string{}, l.MaskedPaths...), l.ReadonlyPaths...) {
		if !path.IsAbs(p) {
			bad("linux.maskedPaths, readonlyPaths: %q is not absolute", p)
		}
	}
	switch strings.TrimPrefix(l.RootfsPropagation, "r") {
	case "", "private", "shared", "slave", "unbindable":
	default:
		bad("linux.rootfsPropagation %q is unknown", l.RootfsPropagation)
	}
	if strings.Count(l.CgroupsPath, ":") == 2 && !strings.Contains(l.CgroupsPath, "/") {
		errs = append(errs, fmt.Errorf("%w: cgroupsPath %q is meant for systemd; give a path", ErrUnsupported, l.CgroupsPath))
	}
	if l.IntelRdt != nil {
		errs = append(errs, fmt.Errorf("%w: linux.intelRdt", ErrUnsupported))
	}
	errs = append(errs, validateNetDevices(l.NetDevices, has[specs.NetworkNamespace] != nil)...)
	if _, err := planMemoryPolicy(l.MemoryPolicy); err != nil {
		errs = append(errs, err)
	}
	if l.Personality != nil && len(l.Personality.Flags) > 0 {
		bad("linux.personality: flag %q is unknown", l.Personality.Flags[0])
	}
	if l.Seccomp != nil && l.Seccomp.ListenerMetadata != "" && l.Seccomp.ListenerPath == "" {
		bad("linux.seccomp: listenerMetadata without listenerPath")
	}
	return errors.Join(errs...)
}

// validateNetDevices: a name is one that the kernel takes, 15 bytes at most, and each device gets its own.
func validateNetDevices(devices map[string]specs.LinuxNetDevice, namespace bool) (errs []error) {
	if len(devices) > 0 && !namespace {
		errs = append(errs, fmt.Errorf("%w: linux.netDevices: there is no network namespace to move them into", ErrInvalid))
	}
	given := map[string]bool{}
	for name, d := range devices {
		for _, n := range []string{name, d.Name} {
			if len(n) > 15 || n == "." || n == ".." || strings.ContainsAny(n, "/: \t\n\x00") || name == "" {
				errs = append(errs, fmt.Errorf("%w: linux.netDevices: name %q is malformed", ErrInvalid, n))
			}
		}
		to := d.Name
		if to == "" {
			to = name
		}
		if given[to] && !strings.Contains(to, "%d") {
			errs = append(errs, fmt.Errorf("%w: linux.netDevices: %s is given to two devices", ErrInvalid, to))
		}
		given[to] = true
	}
	return errs
}

func validateHooks(h *specs.Hooks) (errs []error) {
	if h == nil {
		return nil
	}
	for _, list := range [][]specs.Hook{h.Prestart, h.CreateRuntime, h.CreateContainer, h.StartContainer, h.Poststart, h.Poststop} { //nolint:staticcheck // old bundles have prestart
		for _, hook := range list {
			if !path.IsAbs(hook.Path) {
				errs = append(errs, fmt.Errorf("%w: hooks: path %q is not absolute", ErrInvalid, hook.Path))
			}
			if hook.Timeout != nil && *hook.Timeout <= 0 {
				errs = append(errs, fmt.Errorf("%w: hooks: %s: timeout must be above 0", ErrInvalid, hook.Path))
			}
		}
	}
	return errs
}

// sysctlPath is a parameter's file below /proc/sys. A name with slashes is one already (names may have dots in a part,
// such as an interface's); else dots divide.
func sysctlPath(name string) string {
	if strings.Contains(name, "/") {
		return name
	}
	return strings.ReplaceAll(name, ".", "/")
}

// ipcSysctls are the kernel.* parameters that belong to an IPC namespace.
var ipcSysctls = map[string]bool{"kernel/msgmax": true, "kernel/msgmnb": true, "kernel/msgmni": true, "kernel/sem": true, "kernel/shmall": true,
	"kernel/shmmax": true, "kernel/shmmni": true, "kernel/shm_rmid_forced": true}

// validateSysctl lets through only parameters that belong to a namespace of the container: another would be the host's.
func validateSysctl(name string, has map[specs.LinuxNamespaceType]*specs.LinuxNamespace) error {
	p := sysctlPath(name)
	needs := specs.LinuxNamespaceType("")
	switch {
	case path.Clean(p) != p || strings.HasPrefix(p, "../") || path.IsAbs(p):
		return fmt.Errorf("%w: linux.sysctl: name %q is malformed", ErrInvalid, name)
	case ipcSysctls[p] || strings.HasPrefix(p, "fs/mqueue/"):
		needs = specs.IPCNamespace
	case strings.HasPrefix(p, "net/"):
		needs = specs.NetworkNamespace
	case p == "kernel/domainname" || p == "kernel/hostname":
		needs = specs.UTSNamespace
	case strings.HasPrefix(p, "user/"):
		needs = specs.UserNamespace
	default:
		return fmt.Errorf("%w: linux.sysctl: %s belongs to no namespace", ErrInvalid, name)
	}
	if has[needs] == nil {
		return fmt.Errorf("%w: linux.sysctl: %s is the host's, as there is no %s namespace", ErrInvalid, name, needs)
	}
	return nil
}
