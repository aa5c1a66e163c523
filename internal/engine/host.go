package engine

import (
	"bufio"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"nau/internal/engine/spec"
)

// probeHost finds out once what this machine can.
func probeHost() spec.Host {
	h := spec.Host{HostDevices: spec.HostDevices, RlimitMax: map[string]uint64{}, OOMScoreMin: -1000}
	_, err := os.Stat("/sys/fs/cgroup/cgroup.controllers")
	h.CgroupV2 = err == nil
	_, err = os.Stat("/sys/fs/cgroup/unified/cgroup.controllers")
	h.Hybrid = err == nil
	_, err = os.Stat("/proc/sys/kernel/seccomp/actions_avail")
	h.Seccomp = err == nil
	b, err := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	h.AppArmor = err == nil && strings.HasPrefix(string(b), "Y")
	// mount_setattr came with Linux 5.12; an empty call on a bad descriptor tells whether it is there.
	h.RecursiveRO = unix.MountSetattr(-1, "", unix.AT_EMPTY_PATH, &unix.MountAttr{}) != unix.ENOSYS
	h.Capabilities = ownCapabilities()
	if !contains(h.Capabilities, "CAP_SYS_RESOURCE") {
		// Without it, hard limits can only go down and OOM scores only up.
		if b, err := os.ReadFile("/proc/self/oom_score_adj"); err == nil {
			if n, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
				h.OOMScoreMin = n
			}
		}
		for name, n := range map[string]int{"RLIMIT_NOFILE": unix.RLIMIT_NOFILE, "RLIMIT_NPROC": unix.RLIMIT_NPROC, "RLIMIT_CORE": unix.RLIMIT_CORE,
			"RLIMIT_MEMLOCK": unix.RLIMIT_MEMLOCK, "RLIMIT_STACK": unix.RLIMIT_STACK, "RLIMIT_AS": unix.RLIMIT_AS, "RLIMIT_DATA": unix.RLIMIT_DATA,
			"RLIMIT_FSIZE": unix.RLIMIT_FSIZE, "RLIMIT_CPU": unix.RLIMIT_CPU, "RLIMIT_LOCKS": unix.RLIMIT_LOCKS, "RLIMIT_SIGPENDING": unix.RLIMIT_SIGPENDING,
			"RLIMIT_MSGQUEUE": unix.RLIMIT_MSGQUEUE, "RLIMIT_NICE": unix.RLIMIT_NICE, "RLIMIT_RTPRIO": unix.RLIMIT_RTPRIO, "RLIMIT_RTTIME": unix.RLIMIT_RTTIME} {
			var r unix.Rlimit
			if unix.Getrlimit(n, &r) == nil {
				h.RlimitMax[name] = r.Max
			}
		}
	}
	return h
}

func contains(all []string, s string) bool {
	for _, v := range all {
		if v == s {
			return true
		}
	}
	return false
}

// ownCapabilities are what this process may give away: its bounding set.
func ownCapabilities() []string {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return nil
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		value, ok := strings.CutPrefix(sc.Text(), "CapBnd:")
		if !ok {
			continue
		}
		bits, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		if err != nil {
			return nil
		}
		var out []string
		for n := range 64 {
			if name := spec.KnownCapability(n); name != "" && bits&(1<<n) != 0 {
				out = append(out, name)
			}
		}
		return out
	}
	return nil
}
