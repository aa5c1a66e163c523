package spec

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// DefaultPath is what a process finds programs by when neither image nor wish says so.
const DefaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// ErrNoCommand: neither the wish nor the image names a program.
var ErrNoCommand = errors.New("no command specified")

// DefaultMasked and DefaultReadonly are the paths that Docker hides and protects.
var (
	DefaultMasked = []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi",
		"/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
	}
	DefaultReadonly = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

// Build makes the specification. It reads no file but a local seccomp profile.
func Build(in Input) (*specs.Spec, error) {
	args, err := Command(in.Process, in.Image)
	if err != nil {
		return nil, err
	}
	caps, err := Capabilities(in.Security, in.Host.Capabilities)
	if err != nil {
		return nil, err
	}
	process := &specs.Process{
		Terminal:     in.Process.Terminal,
		User:         specs.User{UID: in.Resolved.UID, GID: in.Resolved.GID, AdditionalGids: groups(in.Resolved), Umask: in.Process.Umask},
		Args:         args,
		Env:          Env(in),
		Cwd:          first(in.Process.Dir, in.Image.Dir, "/"),
		Capabilities: caps,
		Rlimits:      rlimits(in),
	}
	if adj := in.Process.OOMScore; adj != nil {
		v := max(*adj, in.Host.OOMScoreMin)
		process.OOMScoreAdj = &v
	}
	if !path.IsAbs(process.Cwd) {
		process.Cwd = "/" + process.Cwd
	}
	process.NoNewPrivileges = in.Security.NoNewPrivs
	process.SelinuxLabel = in.Security.ProcessLabel

	s := &specs.Spec{
		Version:     specs.Version,
		Process:     process,
		Root:        &specs.Root{Path: in.Rootfs, Readonly: in.Security.ReadOnlyRoot},
		Annotations: in.Annotations,
		Linux: &specs.Linux{
			Sysctl:      in.Sysctls,
			CgroupsPath: in.CgroupPath,
			Namespaces:  namespaces(in),
			UIDMappings: in.Namespaces.UIDs,
			GIDMappings: in.Namespaces.GIDs,
			MountLabel:  in.Security.MountLabel,
		},
	}
	if in.Namespaces.UTS == "" && !in.Namespaces.HostUTS {
		s.Hostname = in.Hostname
	}
	if !in.Security.Privileged {
		s.Linux.MaskedPaths = orDefault(in.Security.MaskedPaths, DefaultMasked)
		s.Linux.ReadonlyPaths = orDefault(in.Security.ReadonlyPaths, DefaultReadonly)
	}
	if err := mounts(in, s); err != nil {
		return nil, err
	}
	if err := devices(in, s); err != nil {
		return nil, err
	}
	if err := resources(in.Resources, s.Linux.Resources); err != nil {
		return nil, err
	}
	if err := seccompProfile(in, s); err != nil {
		return nil, err
	}
	if in.Host.AppArmor && in.Security.AppArmor.Kind == ProfileLocal {
		process.ApparmorProfile = in.Security.AppArmor.Value
	}
	if in.Process.Init && in.Init != "" {
		const inside = "/sbin/docker-init"
		process.Args = append([]string{inside, "--"}, process.Args...)
		s.Mounts = append(s.Mounts, specs.Mount{Destination: inside, Type: "bind", Source: in.Init, Options: []string{"bind", "ro"}})
	}
	return s, nil
}

// Command is the argument vector: Docker's and Kubernetes' rule of entrypoint and command. Source: the table in the Kubernetes
// documentation, "Define a Command and Arguments for a Container".
func Command(p Process, image Image) ([]string, error) {
	entry, args := image.Entrypoint, image.Cmd
	if p.Entrypoint != nil {
		entry, args = p.Entrypoint, nil
	}
	if p.Args != nil {
		args = p.Args
	}
	all := slices.Concat(entry, args)
	if len(all) == 0 {
		return nil, ErrNoCommand
	}
	return all, nil
}

// Env is the environment: defaults, the image's, the container's; the last of a name wins.
func Env(in Input) []string {
	out := []string{DefaultPath}
	if in.Hostname != "" {
		out = append(out, "HOSTNAME="+in.Hostname)
	}
	if in.Process.Terminal {
		out = append(out, "TERM=xterm")
	}
	out = OverlayEnv(out, slices.Concat(in.Image.Env, in.Process.Env))
	return HomeEnv(out, first(in.Resolved.Home, "/"))
}

// HomeEnv gives an environment the home directory that it does not name, or leaves blank.
func HomeEnv(env []string, home string) []string {
	env = slices.DeleteFunc(slices.Clone(env), func(kv string) bool { return kv == "HOME=" })
	if !Names(env, "HOME") {
		env = append(env, "HOME="+home)
	}
	return env
}

// OverlayEnv lays variables over others: the last of a name wins at the first one's place, and a bare name takes the variable away, as
// Docker has it.
func OverlayEnv(base, over []string) []string {
	var out []string
	at := map[string]int{}
	for _, kv := range slices.Concat(base, over) {
		name, _, ok := strings.Cut(kv, "=")
		if name == "" {
			continue
		}
		i, seen := at[name]
		switch {
		case !ok:
			if seen {
				out[i] = ""
				delete(at, name)
			}
		case seen:
			out[i] = kv
		default:
			at[name] = len(out)
			out = append(out, kv)
		}
	}
	return slices.DeleteFunc(out, func(s string) bool { return s == "" })
}

// Names reports whether an environment sets a variable.
func Names(env []string, variable string) bool {
	return slices.ContainsFunc(env, func(kv string) bool { return strings.HasPrefix(kv, variable+"=") })
}

// SupplementaryGroups are a process's supplementary groups: its primary one first.
func (r Resolved) SupplementaryGroups() []uint32 { return groups(r) }

// groups puts the primary group first among the supplementary ones, so that dropping it is no way around a denial for the group
// (CVE-2022-2989 and its like).
func groups(r Resolved) []uint32 {
	out := []uint32{r.GID}
	for _, g := range r.Groups {
		if !slices.Contains(out, g) {
			out = append(out, g)
		}
	}
	return out
}

func rlimits(in Input) []specs.POSIXRlimit {
	out := slices.Clone(in.Process.Rlimits)
	for i, r := range out {
		if limit, ok := in.Host.RlimitMax[r.Type]; ok {
			out[i].Hard, out[i].Soft = min(r.Hard, limit), min(r.Soft, limit)
		}
	}
	return out
}

func namespaces(in Input) []specs.LinuxNamespace {
	n := in.Namespaces
	out := []specs.LinuxNamespace{{Type: specs.MountNamespace}}
	add := func(kind specs.LinuxNamespaceType, path string, host bool) {
		if !host || path != "" {
			out = append(out, specs.LinuxNamespace{Type: kind, Path: path})
		}
	}
	add(specs.PIDNamespace, n.PID, n.HostPID)
	add(specs.NetworkNamespace, n.Net, n.HostNet)
	add(specs.IPCNamespace, n.IPC, n.HostIPC)
	add(specs.UTSNamespace, n.UTS, n.HostUTS)
	add(specs.CgroupNamespace, n.Cgroup, n.HostCgroup || !n.OwnCgroup && (!in.Host.CgroupV2 || in.Security.Privileged))
	if n.User != "" || len(n.UIDs) > 0 {
		add(specs.UserNamespace, n.User, false)
	}
	return out
}

func first(s ...string) string {
	for _, v := range s {
		if v != "" {
			return v
		}
	}
	return ""
}

func orDefault(s, otherwise []string) []string {
	if s == nil {
		return otherwise
	}
	return s
}

// localSeccomp and its like name where a profile came from in errors.
func profileError(what string, p Profile, err error) error {
	return fmt.Errorf("load %s profile %s: %w", what, p.Value, err)
}
