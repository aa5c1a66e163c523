// Package doctor looks at a host and says what it lacks for Nau, each with the
// remedy. It changes nothing. Only cmd/nau imports it.
package doctor

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// Level is how bad a finding is.
type Level int

const (
	// Good: nothing to do.
	Good Level = iota
	// Note: something works less well than it could.
	Note
	// Bad: Nau does not work.
	Bad
)

// Finding is one thing looked at.
type Finding struct {
	What   string
	Level  Level
	Saw    string
	Remedy string // "" where Good
}

// Config is what is looked at beside the host itself.
type Config struct {
	DataDir string
	Ports   map[string]int // what for → TCP port that must be free; nil when Nau runs
}

type check func(Config) Finding

// checks are asked in this order.
var checks = []check{root, kernel, overlay, namespaces, cgroups, netfilter, seccompFilter, ipv6, forwarding, resource, inotify, disk}

// Examine makes all checks.
func Examine(c Config) []Finding {
	var out []Finding
	for _, look := range checks {
		out = append(out, look(c))
	}
	for _, what := range slices.Sorted(maps.Keys(c.Ports)) {
		out = append(out, freePort(what, c.Ports[what]))
	}
	return out
}

func root(Config) Finding {
	if uid := os.Geteuid(); uid != 0 {
		return Finding{"root", Bad, fmt.Sprintf("uid %d", uid), "run nau with sudo"}
	}
	return Finding{"root", Good, "uid 0", ""}
}

func kernel(Config) Finding {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return Finding{"kernel", Bad, err.Error(), "Nau needs Linux 5.12 or newer"}
	}
	release := unix.ByteSliceToString(uts.Release[:])
	var major, minor int
	fmt.Sscanf(release, "%d.%d", &major, &minor)
	if major < 5 || major == 5 && minor < 12 { // mount_setattr
		return Finding{"kernel", Bad, release, "install Linux 5.12 or newer (mount_setattr, clone into cgroup)"}
	}
	return Finding{"kernel", Good, release, ""}
}

func overlay(Config) Finding {
	data, _ := os.ReadFile("/proc/filesystems")
	if strings.Contains(string(data), "\toverlay\n") {
		return Finding{"overlayfs", Good, "in /proc/filesystems", ""}
	}
	return Finding{"overlayfs", Bad, "not in /proc/filesystems", "modprobe overlay, and add it to /etc/modules"}
}

func namespaces(Config) Finding {
	var missing []string
	for _, ns := range []string{"mnt", "pid", "net", "ipc", "uts", "user", "cgroup"} {
		if _, err := os.Lstat(filepath.Join("/proc/self/ns", ns)); err != nil {
			missing = append(missing, ns)
		}
	}
	if len(missing) > 0 {
		return Finding{"namespaces", Bad, "missing: " + strings.Join(missing, " "), "use a kernel with CONFIG_NAMESPACES and all kinds of it"}
	}
	return Finding{"namespaces", Good, "all kinds", ""}
}

func cgroups(Config) Finding {
	if data, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		for _, want := range []string{"cpu", "memory", "pids"} {
			if !strings.Contains(" "+strings.TrimSpace(string(data))+" ", " "+want+" ") {
				return Finding{"cgroups", Bad, "version 2 without controller " + want, "boot without cgroup_disable=" + want}
			}
		}
		return Finding{"cgroups", Good, "version 2: " + strings.TrimSpace(string(data)), ""}
	}
	var have, missing []string
	for _, want := range []string{"cpu", "memory", "pids", "devices", "freezer", "cpuset", "blkio"} {
		if _, err := os.Stat(filepath.Join("/sys/fs/cgroup", want, "cgroup.procs")); err == nil {
			have = append(have, want)
		} else {
			missing = append(missing, want)
		}
	}
	if len(have) == 0 {
		return Finding{"cgroups", Bad, "none mounted on /sys/fs/cgroup", "mount -t cgroup2 none /sys/fs/cgroup"}
	}
	if len(missing) > 0 {
		return Finding{"cgroups", Note, "version 1 without " + strings.Join(missing, " "), "limits of these kinds are not enforced; boot with version 2 (systemd.unified_cgroup_hierarchy=1)"}
	}
	return Finding{"cgroups", Good, "version 1: " + strings.Join(have, " "), ""}
}

func netfilter(Config) Finding {
	conn, err := nftables.New()
	if err == nil {
		_, err = conn.ListTables()
	}
	if err != nil {
		return Finding{"nftables", Bad, err.Error(), "modprobe nf_tables; use a kernel with CONFIG_NF_TABLES"}
	}
	return Finding{"nftables", Good, "answers", ""}
}

func seccompFilter(Config) Finding {
	if _, err := os.Stat("/proc/sys/kernel/seccomp/actions_avail"); err != nil {
		return Finding{"seccomp", Note, "not in this kernel", "containers run without a system call filter; use a kernel with CONFIG_SECCOMP_FILTER"}
	}
	return Finding{"seccomp", Good, "filters", ""}
}

func ipv6(Config) Finding {
	if data, err := os.ReadFile("/proc/sys/net/ipv6/conf/all/disable_ipv6"); err != nil || strings.TrimSpace(string(data)) == "1" {
		return Finding{"IPv6", Note, "switched off", "pods get IPv4 addresses only; sysctl net.ipv6.conf.all.disable_ipv6=0"}
	}
	return Finding{"IPv6", Good, "on", ""}
}

func forwarding(Config) Finding {
	if _, err := os.Stat("/proc/sys/net/ipv4/ip_forward"); err != nil {
		return Finding{"IP forwarding", Bad, err.Error(), "mount /proc"}
	}
	return Finding{"IP forwarding", Good, "nau up switches it on", ""}
}

func resource(Config) Finding {
	var header = unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return Finding{"capabilities", Note, err.Error(), ""}
	}
	if data[0].Effective&(1<<unix.CAP_SYS_RESOURCE) == 0 {
		return Finding{"capabilities", Note, "no CAP_SYS_RESOURCE", "limits and OOM scores cannot be raised above this process's own; give nau the capability"}
	}
	return Finding{"capabilities", Good, "all that are needed", ""}
}

func inotify(Config) Finding {
	data, err := os.ReadFile("/proc/sys/fs/inotify/max_user_instances")
	n, _ := strconv.Atoi(strings.TrimSpace(string(data)))
	if err == nil && n < 128 {
		return Finding{"inotify", Note, fmt.Sprintf("%d instances a user", n), "sysctl fs.inotify.max_user_instances=512, or `kubectl logs -f` may be refused"}
	}
	return Finding{"inotify", Good, fmt.Sprintf("%d instances a user", n), ""}
}

func disk(c Config) Finding {
	dir := c.DataDir
	for dir != "/" {
		if _, err := os.Stat(dir); err == nil {
			break
		}
		dir = filepath.Dir(dir)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return Finding{"disk", Bad, err.Error(), "choose another --data-dir"}
	}
	free := fs.Bavail * uint64(fs.Bsize)
	saw := fmt.Sprintf("%.1f GiB free for %s", float64(free)/(1<<30), c.DataDir)
	switch {
	case free < 1<<30:
		return Finding{"disk", Bad, saw, "make room, or choose another --data-dir"}
	case free*100 < 15*fs.Blocks*uint64(fs.Bsize):
		return Finding{"disk", Note, saw, "less than 15 % is free: images will be collected early"}
	}
	return Finding{"disk", Good, saw, ""}
}

func freePort(what string, port int) Finding {
	listener, err := net.Listen("tcp", ":"+strconv.Itoa(port))
	name := fmt.Sprintf("port %d (%s)", port, what)
	if err != nil {
		if errors.Is(err, unix.EADDRINUSE) {
			return Finding{name, Bad, "in use", "stop what listens there (ss -ltnp), or choose another port: see nau up --help"}
		}
		return Finding{name, Bad, err.Error(), "choose another port"}
	}
	listener.Close()
	return Finding{name, Good, "free", ""}
}
