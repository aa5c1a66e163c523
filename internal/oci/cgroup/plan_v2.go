package cgroup

import (
	"fmt"
	"path"
	"sort"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"nau/internal/kernel"
)

// PlanV2 tells the writes that set r in the version 2 hierarchy, in order. The values of r are version 1's; conversions are
// those of the kernel's documentation (Documentation/admin-guide/cgroup-v2.rst) and of systemd.
func PlanV2(r *specs.LinuxResources) ([]Write, error) {
	var p []Write
	add := func(file, value string) { p = append(p, Write{File: file, Value: value}) }
	if m := r.Memory; m != nil {
		swap, err := swapMax(m.Limit, m.Swap)
		if err != nil {
			return nil, err
		}
		if swap != "" {
			p = append(p, Write{File: "memory.swap.max", Value: swap, Optional: true})
		}
		if m.Limit != nil && *m.Limit != 0 {
			add("memory.max", max64(*m.Limit))
		}
		if m.Reservation != nil && *m.Reservation != 0 {
			add("memory.low", max64(*m.Reservation))
		}
	}
	if c := r.CPU; c != nil {
		if c.Idle != nil {
			add("cpu.idle", strconv.FormatInt(*c.Idle, 10))
		}
		if c.Shares != nil && *c.Shares != 0 && (c.Idle == nil || *c.Idle == 0) {
			add("cpu.weight", strconv.FormatUint(kernel.CPUWeight(*c.Shares), 10))
		}
		if c.Quota != nil && *c.Quota != 0 || c.Period != nil && *c.Period != 0 {
			add("cpu.max", cpuMax(c.Quota, c.Period))
		}
		if c.Burst != nil {
			add("cpu.max.burst", strconv.FormatUint(*c.Burst, 10))
		}
		if c.RealtimePeriod != nil && *c.RealtimePeriod != 0 || c.RealtimeRuntime != nil && *c.RealtimeRuntime != 0 {
			return nil, fmt.Errorf("set real-time cpu limits: version 2 cgroups have none")
		}
		if c.Cpus != "" {
			add("cpuset.cpus", c.Cpus)
		}
		if c.Mems != "" {
			add("cpuset.mems", c.Mems)
		}
	}
	if r.Pids != nil && r.Pids.Limit != nil {
		add("pids.max", pidsMax(*r.Pids.Limit))
	}
	if b := r.BlockIO; b != nil {
		if b.Weight != nil && *b.Weight != 0 {
			p = append(p, Write{File: "io.bfq.weight", Value: fmt.Sprint(*b.Weight), Optional: true},
				Write{File: "io.weight", Value: strconv.FormatUint(ioWeight(uint64(*b.Weight)), 10), Optional: true, Or: true, Lost: fmt.Sprintf("blockIO.weight %d", *b.Weight)})
		}
		for _, d := range b.WeightDevice {
			if d.Weight != nil {
				at := fmt.Sprintf("%d:%d ", d.Major, d.Minor)
				p = append(p, Write{File: "io.bfq.weight", Value: at + fmt.Sprint(*d.Weight), Optional: true},
					Write{File: "io.weight", Value: at + strconv.FormatUint(ioWeight(uint64(*d.Weight)), 10), Optional: true, Or: true, Lost: fmt.Sprintf("blockIO.weightDevice %s%d", at, *d.Weight)})
			}
		}
		for _, t := range []struct {
			key     string
			devices []specs.LinuxThrottleDevice
		}{
			{"rbps", b.ThrottleReadBpsDevice}, {"wbps", b.ThrottleWriteBpsDevice}, {"riops", b.ThrottleReadIOPSDevice}, {"wiops", b.ThrottleWriteIOPSDevice},
		} {
			for _, d := range t.devices {
				rate := "max"
				if d.Rate != 0 {
					rate = strconv.FormatUint(d.Rate, 10)
				}
				add("io.max", fmt.Sprintf("%d:%d %s=%s", d.Major, d.Minor, t.key, rate))
			}
		}
	}
	for _, h := range r.HugepageLimits {
		add("hugetlb."+h.Pagesize+".max", strconv.FormatUint(h.Limit, 10))
		p = append(p, Write{File: "hugetlb." + h.Pagesize + ".rsvd.max", Value: strconv.FormatUint(h.Limit, 10), Optional: true})
	}
	p = append(p, planRdma("", r.Rdma)...)
	for _, field := range onlyV1(r) {
		p = append(p, Write{Lost: field})
	}
	keys := make([]string, 0, len(r.Unified))
	for k := range r.Unified {
		if k == "" || k != path.Base(k) || !strings.Contains(k, ".") || strings.HasPrefix(k, "cgroup.") && k != "cgroup.max.depth" && k != "cgroup.max.descendants" {
			return nil, fmt.Errorf("set unified cgroup value %q: not a controller's file", k)
		}
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		for _, line := range strings.Split(strings.TrimSpace(r.Unified[k]), "\n") {
			add(k, line)
		}
	}
	return p, nil
}

// onlyV1 names the fields that version 2 has nothing for.
func onlyV1(r *specs.LinuxResources) (fields []string) {
	lost := func(set bool, format string, args ...any) {
		if set {
			fields = append(fields, fmt.Sprintf(format, args...))
		}
	}
	if m := r.Memory; m != nil {
		lost(m.Kernel != nil && *m.Kernel > 0, "memory.kernel")          //nolint:staticcheck // what is deprecated is told of
		lost(m.KernelTCP != nil && *m.KernelTCP > 0, "memory.kernelTCP") //nolint:staticcheck // the same
		lost(m.Swappiness != nil, "memory.swappiness")
		lost(m.DisableOOMKiller != nil && *m.DisableOOMKiller, "memory.disableOOMKiller")
	}
	if b := r.BlockIO; b != nil {
		lost(b.LeafWeight != nil && *b.LeafWeight != 0, "blockIO.leafWeight")
		for _, d := range b.WeightDevice {
			lost(d.LeafWeight != nil, "blockIO.weightDevice %d:%d leafWeight", d.Major, d.Minor)
		}
	}
	if n := r.Network; n != nil {
		lost(n.ClassID != nil && *n.ClassID != 0, "network.classID")
		lost(len(n.Priorities) > 0, "network.priorities")
	}
	return fields
}

// swapMax converts memory+swap to swap alone: "" is "leave it".
func swapMax(limit, swap *int64) (string, error) {
	switch {
	case swap == nil || *swap == 0:
		if limit != nil && *limit == -1 {
			return "max", nil
		}
		return "", nil
	case *swap == -1:
		return "max", nil
	case limit == nil || *limit <= 0:
		return "", fmt.Errorf("set swap limit: it is of memory and swap together, and needs a memory limit")
	case *swap < *limit:
		return "", fmt.Errorf("set swap limit: memory and swap together (%d) is below memory (%d)", *swap, *limit)
	}
	return strconv.FormatInt(*swap-*limit, 10), nil
}

func max64(n int64) string {
	if n < 0 {
		return "max"
	}
	return strconv.FormatInt(n, 10)
}

// ioWeight maps version 1's 10…1000 to 1…10000.
func ioWeight(w uint64) uint64 {
	w = min(max(w, 10), 1000)
	return 1 + (w-10)*9999/990
}

func cpuMax(quota *int64, period *uint64) string {
	q := "max"
	if quota != nil && *quota > 0 {
		q = strconv.FormatInt(*quota, 10)
	}
	if period != nil && *period != 0 {
		return q + " " + strconv.FormatUint(*period, 10)
	}
	return q
}
