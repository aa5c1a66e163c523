package docker

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	dc "github.com/moby/moby/api/types/container"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"nau/internal/engine/spec"
)

var update = flag.Bool("update", false, "write testdata anew")

// plainSpec is the specification of `docker run IMAGE x`.
func plainSpec(t *testing.T) *specs.Spec {
	t.Helper()
	c, h := dc.Config{Image: "i", Cmd: []string{"x"}}, dc.HostConfig{}
	host := spec.Host{Seccomp: true, OOMScoreMin: -1000}
	if err := checkModes(&c, &h); err != nil {
		t.Fatal(err)
	}
	adapt(&h, host)
	e, warnings, err := compose(&c, &h, surroundings{can: everything, host: host, folder: "/f", id: strings.Repeat("0", 64)})
	if err != nil || len(warnings) > 0 {
		t.Fatal(warnings, err)
	}
	if _, err := sandboxConfig(&c, &h, nil, netip.Addr{}); err != nil {
		t.Fatal(err)
	}
	s, err := spec.Build(spec.Input{ID: "0", Process: e.Process, Security: e.Security, Resources: e.Resources, Namespaces: spec.Namespaces{Net: "/ns/net", IPC: "/ns/ipc", UTS: "/ns/uts"},
		Rootfs: "/r", CgroupPath: "/c", ResolvConf: "/f/resolv", Hosts: "/f/hosts", HostnameFile: "/f/hostname", ShmDir: "/f/shm", Host: host})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What a container may do when nobody asks for more drifts in no direction unseen: neither by a change here nor by one of a library.
func TestDefaultsDoNotDrift(t *testing.T) {
	s := plainSpec(t)
	var b strings.Builder
	put := func(what string, values ...string) {
		fmt.Fprintf(&b, "%s:\n", what)
		for _, v := range values {
			fmt.Fprintf(&b, "  %s\n", v)
		}
	}
	put("capabilities", s.Process.Capabilities.Bounding...)
	put("ambient and inheritable capabilities", slices.Concat(s.Process.Capabilities.Ambient, s.Process.Capabilities.Inheritable)...)
	put("no new privileges", fmt.Sprint(s.Process.NoNewPrivileges))
	var out []string
	for _, n := range s.Linux.Namespaces {
		out = append(out, strings.TrimSpace(string(n.Type)+" "+n.Path))
	}
	put("namespaces", out...)
	put("masked paths", s.Linux.MaskedPaths...)
	put("read-only paths", s.Linux.ReadonlyPaths...)
	out = nil
	for _, m := range s.Mounts {
		out = append(out, fmt.Sprintf("%s %s %s %s", m.Destination, m.Type, m.Source, strings.Join(m.Options, ",")))
	}
	put("mounts", out...)
	out = nil
	number := func(n *int64) string {
		if n == nil {
			return "*"
		}
		return fmt.Sprint(*n)
	}
	for _, d := range s.Linux.Resources.Devices {
		out = append(out, fmt.Sprintf("%v %s %s:%s %s", d.Allow, d.Type, number(d.Major), number(d.Minor), d.Access))
	}
	put("device rules", out...)
	put("seccomp default", string(s.Linux.Seccomp.DefaultAction))
	out = nil
	for _, rule := range s.Linux.Seccomp.Syscalls {
		args := ""
		for _, a := range rule.Args {
			args += fmt.Sprintf(" arg%d %s %d %d", a.Index, a.Op, a.Value, a.ValueTwo)
		}
		errno := ""
		if rule.ErrnoRet != nil {
			errno = fmt.Sprintf(" errno %d", *rule.ErrnoRet)
		}
		for _, name := range rule.Names {
			out = append(out, name+" "+string(rule.Action)+errno+args)
		}
	}
	slices.Sort(out)
	put("seccomp", out...)
	const path = "testdata/defaults.txt"
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	have, golden := strings.Split(b.String(), "\n"), strings.Split(string(want), "\n")
	for _, l := range have {
		if !slices.Contains(golden, l) {
			t.Errorf("new: %s", l)
		}
	}
	for _, l := range golden {
		if !slices.Contains(have, l) {
			t.Errorf("gone: %s", l)
		}
	}
}

// The golden file itself says what Docker's documentation says: its fourteen capabilities, the calls that its profile denies, its hidden paths.
func TestDefaultsAreDockers(t *testing.T) {
	s := plainSpec(t)
	want := strings.Fields("CAP_AUDIT_WRITE CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_FSETID CAP_KILL CAP_MKNOD CAP_NET_BIND_SERVICE CAP_NET_RAW CAP_SETFCAP CAP_SETGID CAP_SETPCAP CAP_SETUID CAP_SYS_CHROOT")
	if got := slices.Sorted(slices.Values(s.Process.Capabilities.Bounding)); !slices.Equal(got, want) {
		t.Errorf("capabilities %v", got)
	}
	allowed := map[string]bool{}
	for _, rule := range s.Linux.Seccomp.Syscalls {
		for _, name := range rule.Names {
			allowed[name] = allowed[name] || rule.Action == specs.ActAllow && len(rule.Args) == 0
		}
	}
	for _, denied := range strings.Fields("acct add_key bpf clock_settime create_module delete_module finit_module fsopen init_module ioperm iopl kcmp kexec_file_load kexec_load keyctl lookup_dcookie mbind mount mount_setattr move_mount move_pages nfsservctl open_by_handle_at open_tree perf_event_open pivot_root query_module quotactl reboot request_key set_mempolicy setns settimeofday stime swapoff swapon sysfs umount umount2 unshare uselib userfaultfd ustat vm86 vm86old") {
		if allowed[denied] {
			t.Errorf("%s is allowed", denied)
		}
	}
	for _, needed := range strings.Fields("read write openat execve fork futex epoll_pwait io_setup mmap prctl seccomp getrandom statx chown setuid") {
		if !allowed[needed] {
			t.Errorf("%s is denied", needed)
		}
	}
	if s.Linux.Seccomp.DefaultAction != specs.ActErrno {
		t.Errorf("default action %s", s.Linux.Seccomp.DefaultAction)
	}
	for _, p := range strings.Fields("/proc/acpi /proc/asound /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/sched_debug /proc/scsi /proc/timer_list /proc/timer_stats /sys/devices/virtual/powercap /sys/firmware") {
		if !slices.Contains(s.Linux.MaskedPaths, p) {
			t.Errorf("%s is not masked", p)
		}
	}
	for _, p := range strings.Fields("/proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger") {
		if !slices.Contains(s.Linux.ReadonlyPaths, p) {
			t.Errorf("%s is not read-only", p)
		}
	}
}
