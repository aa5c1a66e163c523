package spec

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/moby/profiles/seccomp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// DefaultCapabilities are Docker's.
var DefaultCapabilities = []string{
	"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD", "CAP_NET_BIND_SERVICE",
	"CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
}

// known is every capability of Linux 6.x, in the order of their numbers.
var known = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP",
	"CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER",
	"CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE",
	"CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL", "CAP_SETFCAP",
	"CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF",
	"CAP_CHECKPOINT_RESTORE",
}

// KnownCapability names the capability with number n; "" beyond the last.
func KnownCapability(n int) string {
	if n < 0 || n >= len(known) {
		return ""
	}
	return known[n]
}

// Capabilities decides the sets. available are what this process can give away; nil means all. ALL among the additions or drops comes
// first, so that "drop ALL, add NET_ADMIN" and "add ALL, drop NET_ADMIN" say what they seem to, whatever the order.
func Capabilities(s Security, available []string) (*specs.LinuxCapabilities, error) {
	if available == nil {
		available = known
	}
	if s.Privileged {
		all := slices.Clone(available)
		return &specs.LinuxCapabilities{Bounding: all, Effective: all, Permitted: all}, nil
	}
	add, addAll, err := normalize(s.CapAdd)
	if err != nil {
		return nil, err
	}
	drop, dropAll, err := normalize(s.CapDrop)
	if err != nil {
		return nil, err
	}
	ambient, _, err := normalize(s.CapAmbient)
	if err != nil {
		return nil, err
	}
	base := DefaultCapabilities
	switch {
	case addAll:
		base = available
	case dropAll:
		base = nil
	}
	var set []string
	for _, c := range slices.Concat(base, add, ambient) {
		if !slices.Contains(set, c) && slices.Contains(available, c) && (!slices.Contains(drop, c) || slices.Contains(add, c)) {
			set = append(set, c)
		}
	}
	slices.Sort(set)
	out := &specs.LinuxCapabilities{Bounding: set, Effective: set, Permitted: set}
	if len(ambient) > 0 {
		ambient = slices.DeleteFunc(ambient, func(c string) bool { return !slices.Contains(set, c) })
		out.Ambient, out.Inheritable = ambient, ambient
	}
	return out, nil
}

func normalize(names []string) (out []string, all bool, err error) {
	for _, n := range names {
		u := strings.ToUpper(strings.TrimSpace(n))
		if u == "ALL" || u == "CAP_ALL" {
			all = true
			continue
		}
		if !strings.HasPrefix(u, "CAP_") {
			u = "CAP_" + u
		}
		if !slices.Contains(known, u) {
			return nil, false, fmt.Errorf("set capabilities: unknown capability %q", n)
		}
		out = append(out, u)
	}
	return out, all, nil
}

// defaults keeps the default seccomp profile per bounding set: it is large and always the same. Entries are shared and read-only.
var defaults = struct {
	sync.Mutex
	m map[string]*specs.LinuxSeccomp
}{m: map[string]*specs.LinuxSeccomp{}}

func seccompProfile(in Input, s *specs.Spec) error {
	p := in.Security.Seccomp
	if p.Kind == ProfileUnconfined {
		return nil
	}
	if !in.Host.Seccomp {
		if p.Kind == ProfileDefault {
			return nil
		}
		return profileError("seccomp", p, fmt.Errorf("this kernel has no seccomp filters"))
	}
	body := p.Value
	switch p.Kind {
	case ProfileDefault:
		key := strings.Join(s.Process.Capabilities.Bounding, ",")
		defaults.Lock()
		defer defaults.Unlock()
		profile, ok := defaults.m[key]
		if !ok {
			var err error
			if profile, err = seccomp.GetDefaultProfile(s); err != nil {
				return profileError("seccomp", p, err)
			}
			if len(defaults.m) > 64 {
				clear(defaults.m)
			}
			defaults.m[key] = profile
		}
		s.Linux.Seccomp = profile
		return nil
	case ProfileLocal:
		b, err := os.ReadFile(p.Value)
		if err != nil {
			return profileError("seccomp", p, err)
		}
		body = string(b)
	}
	profile, err := seccomp.LoadProfile(body, s)
	if err != nil {
		return profileError("seccomp", p, err)
	}
	s.Linux.Seccomp = profile
	return nil
}
