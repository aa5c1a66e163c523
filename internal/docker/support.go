package docker

import (
	"os"
	"path"
	"strconv"
	"strings"

	"nau/internal/engine/spec"
)

// support is what this machine's cgroups can limit; requests for the rest are discarded with a warning or refused, as Docker does.
type support struct {
	V2                                                    bool
	Memory, Swap, Reservation, OOMKillDisable, Swappiness bool
	CPUShares, CFS, Cpuset, Pids, Weight, WeightOf        bool
	ReadBps, WriteBps, ReadIOps, WriteIOps                bool
	Cpus, Mems                                            string // the lists that there are, as the kernel writes them
	CPUs                                                  int
}

// probeSupport looks at the cgroup file system below root. Version 1 shows its files at the root of each hierarchy, version 2 shows none there: it has what its controllers have.
func probeSupport(root string, host spec.Host, cpus int) support {
	s := support{V2: host.CgroupV2, CPUs: cpus}
	has := func(file string) bool { _, err := os.Stat(path.Join(root, file)); return err == nil }
	text := func(files ...string) string {
		for _, f := range files {
			if b, err := os.ReadFile(path.Join(root, f)); err == nil {
				return strings.TrimSpace(string(b))
			}
		}
		return ""
	}
	if s.V2 {
		on := map[string]bool{}
		for _, c := range strings.Fields(text("cgroup.controllers")) {
			on[c] = true
		}
		s.Memory, s.Swap, s.Reservation = on["memory"], on["memory"], on["memory"]
		s.CPUShares, s.CFS, s.Cpuset, s.Pids = on["cpu"], on["cpu"], on["cpuset"], on["pids"]
		s.Weight, s.WeightOf, s.ReadBps, s.WriteBps, s.ReadIOps, s.WriteIOps = on["io"], on["io"], on["io"], on["io"], on["io"], on["io"]
		s.Cpus, s.Mems = text("cpuset.cpus.effective"), text("cpuset.mems.effective")
		return s
	}
	s.Memory, s.Swap, s.Reservation = has("memory/memory.limit_in_bytes"), has("memory/memory.memsw.limit_in_bytes"), has("memory/memory.soft_limit_in_bytes")
	s.OOMKillDisable, s.Swappiness = has("memory/memory.oom_control"), has("memory/memory.swappiness")
	s.CPUShares, s.CFS = has("cpu/cpu.shares"), has("cpu/cpu.cfs_quota_us")
	s.Cpuset, s.Pids = has("cpuset/cpuset.cpus"), has("pids/cgroup.procs")
	s.Weight = has("blkio/blkio.weight") || has("blkio/blkio.bfq.weight")
	s.WeightOf = has("blkio/blkio.weight_device") || has("blkio/blkio.bfq.weight_device")
	s.ReadBps, s.WriteBps = has("blkio/blkio.throttle.read_bps_device"), has("blkio/blkio.throttle.write_bps_device")
	s.ReadIOps, s.WriteIOps = has("blkio/blkio.throttle.read_iops_device"), has("blkio/blkio.throttle.write_iops_device")
	s.Cpus, s.Mems = text("cpuset/cpuset.effective_cpus", "cpuset/cpuset.cpus"), text("cpuset/cpuset.effective_mems", "cpuset/cpuset.mems")
	return s
}

// lacks words what the machine cannot limit, as `docker info` shows it.
func (s support) lacks() []string {
	out := []string{}
	io := map[bool][]string{false: {"blkio weight", "blkio weight_device", "blkio throttle.read_bps_device", "blkio throttle.write_bps_device", "blkio throttle.read_iops_device", "blkio throttle.write_iops_device"},
		true: {"io.weight", "io.weight (per device)", "io.max (rbps)", "io.max (wbps)", "io.max (riops)", "io.max (wiops)"}}[s.V2]
	for _, l := range []struct {
		there bool
		what  string
	}{{s.Memory, "memory limit"}, {s.Swap, "swap limit"}, {s.OOMKillDisable || s.V2, "oom kill disable"}, {s.CFS, "cpu cfs quota"}, {s.CFS, "cpu cfs period"}, {s.CPUShares, "cpu shares"}, {s.Cpuset, "cpuset"},
		{s.Weight, io[0]}, {s.WeightOf, io[1]}, {s.ReadBps, io[2]}, {s.WriteBps, io[3]}, {s.ReadIOps, io[4]}, {s.WriteIOps, io[5]}} {
		if !l.there {
			out = append(out, "WARNING: No "+l.what+" support")
		}
	}
	return out
}

// numbers reads a list such as "0-2,5". Source: cpuset(7), list format.
func numbers(list string) (map[int]bool, bool) {
	out := map[int]bool{}
	for _, part := range strings.Split(list, ",") {
		low, high, isRange := strings.Cut(strings.TrimSpace(part), "-")
		from, err := strconv.ParseUint(low, 10, 13)
		if err != nil {
			return nil, false
		}
		to := from
		if isRange {
			if to, err = strconv.ParseUint(high, 10, 13); err != nil || to < from {
				return nil, false
			}
		}
		for n := from; n <= to; n++ {
			out[int(n)] = true
		}
	}
	return out, true
}

// within reports whether all of the list is in the available one; an empty list is.
func within(list, available string) (inside, valid bool) {
	if list == "" {
		return true, true
	}
	want, ok := numbers(list)
	if !ok {
		return false, false
	}
	have, _ := numbers(available)
	for n := range want {
		if !have[n] {
			return false, true
		}
	}
	return true, true
}
