// Package capability turns capability names of the OCI configuration into the kernel's bits, less what this process
// cannot give. It changes no process: it is a table and set arithmetic. Only internal/oci imports it.
package capability

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// names in the order of their numbers, linux/capability.h.
var names = [...]string{"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
	"LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO",
	"SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD",
	"LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ",
	"PERFMON", "BPF", "CHECKPOINT_RESTORE"}

// Set is a set of capabilities: bit n is capability number n.
type Set uint64

// Has tells whether capability number n is in the set.
func (s Set) Has(n int) bool { return s&(1<<n) != 0 }

// Parse reads names with the prefix CAP_. Names that this kernel or table does not know are returned as unknown, not as
// an error: the runtime specification says a runtime should warn.
func Parse(list []string) (s Set, unknown []string) {
	for _, name := range list {
		n, ok := number(name)
		if !ok || n > Last() {
			unknown = append(unknown, name)
			continue
		}
		s |= 1 << n
	}
	return s, unknown
}

func number(name string) (int, bool) {
	short, ok := strings.CutPrefix(strings.ToUpper(name), "CAP_")
	if !ok {
		return 0, false
	}
	for i, n := range names {
		if n == short {
			return i, true
		}
	}
	return 0, false
}

// All are the names this table knows, for the features command.
func All() []string {
	list := make([]string, len(names))
	for i, n := range names {
		list[i] = "CAP_" + n
	}
	return list
}

// Last is the highest capability number of this kernel.
var Last = sync.OnceValue(func() int {
	b, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if err != nil {
		return len(names) - 1
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return len(names) - 1
	}
	return n
})

// Own is what this process may give: its permitted set within its bounding set.
var Own = sync.OnceValue(func() Set {
	var data [2]unix.CapUserData
	if err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data[0]); err != nil {
		return 0
	}
	own := Set(data[0].Permitted) | Set(data[1].Permitted)<<32
	for n := 0; n <= Last(); n++ {
		if in, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(n), 0, 0, 0); err != nil || in == 0 {
			own &^= 1 << n
		}
	}
	return own
})

// Sets are the five sets of a process.
type Sets struct{ Bounding, Effective, Permitted, Inheritable, Ambient Set }

// Plan reads the configuration's sets and takes away what own does not hold. Warnings say what was left out.
func Plan(c *specs.LinuxCapabilities, own Set) (s Sets, warnings []string) {
	if c == nil {
		return s, nil
	}
	warned := map[string]bool{}
	for _, x := range []struct {
		list []string
		set  *Set
	}{{c.Bounding, &s.Bounding}, {c.Effective, &s.Effective}, {c.Permitted, &s.Permitted}, {c.Inheritable, &s.Inheritable}, {c.Ambient, &s.Ambient}} {
		set, unknown := Parse(x.list)
		for _, name := range unknown {
			if !warned[name] {
				warned[name] = true
				warnings = append(warnings, fmt.Sprintf("capability %s is unknown here and left out", name))
			}
		}
		for n := range names {
			if set.Has(n) && !own.Has(n) {
				set &^= 1 << n
				if name := "CAP_" + names[n]; !warned[name] {
					warned[name] = true
					warnings = append(warnings, fmt.Sprintf("capability %s is not this process's to give and left out", name))
				}
			}
		}
		*x.set = set
	}
	// The kernel's own rules: effective within permitted, ambient within permitted and inheritable.
	s.Effective &= s.Permitted
	s.Ambient &= s.Permitted & s.Inheritable
	return s, warnings
}
