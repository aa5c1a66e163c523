package cgroup

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Write is one value for one file of a cgroup.
type Write struct {
	Controller string // "" for version 2
	File       string
	Value      string
	Optional   bool // a host without the file is fine
	// Lost says what does not hold on a host without the file, and without that of the write before it if Or is set: "blockIO.weight 500".
	Lost  string
	Or    bool
	Retry *Write
}

// PlanV1 tells the writes that set r in version 1 hierarchies, in order. Device rules are PlanDevicesV1's.
func PlanV1(r *specs.LinuxResources) ([]Write, error) {
	var p []Write
	add := func(controller, file, value string) {
		p = append(p, Write{Controller: controller, File: file, Value: value})
	}
	if m := r.Memory; m != nil {
		limit, swap := m.Limit, m.Swap
		var memsw *Write
		if swap != nil && *swap != 0 {
			memsw = &Write{Controller: "memory", File: "memory.memsw.limit_in_bytes", Value: signed(*swap), Optional: true}
		} else if limit != nil && *limit == -1 {
			memsw = &Write{Controller: "memory", File: "memory.memsw.limit_in_bytes", Value: "-1", Optional: true}
		}
		if limit != nil && *limit != 0 {
			// The limit may not pass memory+swap's: raise that first if the kernel says so.
			p = append(p, Write{Controller: "memory", File: "memory.limit_in_bytes", Value: signed(*limit), Retry: memsw})
		}
		if memsw != nil {
			p = append(p, *memsw)
		}
		if m.Reservation != nil {
			add("memory", "memory.soft_limit_in_bytes", signed(*m.Reservation))
		}
		if m.Kernel != nil && *m.Kernel > 0 { //nolint:staticcheck // what is deprecated is told of
			p = append(p, Write{Lost: fmt.Sprintf("memory.kernel %d", *m.Kernel)}) //nolint:staticcheck // the same
		}
		if m.KernelTCP != nil { //nolint:staticcheck // version 1 has it still
			p = append(p, Write{Controller: "memory", File: "memory.kmem.tcp.limit_in_bytes", Value: signed(*m.KernelTCP), Optional: true})
		}
		if m.Swappiness != nil {
			if *m.Swappiness > 100 {
				return nil, fmt.Errorf("set memory swappiness: %d is above 100", *m.Swappiness)
			}
			add("memory", "memory.swappiness", strconv.FormatUint(*m.Swappiness, 10))
		}
		if m.DisableOOMKiller != nil && *m.DisableOOMKiller {
			add("memory", "memory.oom_control", "1")
		}
		if m.UseHierarchy != nil && *m.UseHierarchy {
			p = append(p, Write{Controller: "memory", File: "memory.use_hierarchy", Value: "1", Optional: true})
		}
	}
	if c := r.CPU; c != nil {
		if c.Shares != nil && *c.Shares != 0 {
			add("cpu", "cpu.shares", strconv.FormatUint(*c.Shares, 10))
		}
		if c.Idle != nil {
			add("cpu", "cpu.idle", strconv.FormatInt(*c.Idle, 10))
		}
		if c.Period != nil && *c.Period != 0 {
			w := Write{Controller: "cpu", File: "cpu.cfs_period_us", Value: strconv.FormatUint(*c.Period, 10)}
			if c.Quota != nil {
				w.Retry = &Write{Controller: "cpu", File: "cpu.cfs_quota_us", Value: signed(*c.Quota)}
			}
			p = append(p, w)
		}
		if c.Quota != nil && *c.Quota != 0 {
			add("cpu", "cpu.cfs_quota_us", signed(*c.Quota))
		}
		if c.Burst != nil {
			add("cpu", "cpu.cfs_burst_us", strconv.FormatUint(*c.Burst, 10))
		}
		if c.RealtimePeriod != nil && *c.RealtimePeriod != 0 {
			add("cpu", "cpu.rt_period_us", strconv.FormatUint(*c.RealtimePeriod, 10))
		}
		if c.RealtimeRuntime != nil && *c.RealtimeRuntime != 0 {
			add("cpu", "cpu.rt_runtime_us", strconv.FormatInt(*c.RealtimeRuntime, 10))
		}
		if c.Cpus != "" {
			add("cpuset", "cpuset.cpus", c.Cpus)
		}
		if c.Mems != "" {
			add("cpuset", "cpuset.mems", c.Mems)
		}
	}
	if r.Pids != nil && r.Pids.Limit != nil {
		add("pids", "pids.max", pidsMax(*r.Pids.Limit))
	}
	if b := r.BlockIO; b != nil {
		if b.Weight != nil && *b.Weight != 0 {
			p = append(p, weights("blkio", "blockIO.weight", fmt.Sprint(*b.Weight), "blkio.bfq.weight", "blkio.weight")...)
		}
		// Leaves had weights under CFQ, which left the kernel in 5.0.
		if b.LeafWeight != nil && *b.LeafWeight != 0 {
			p = append(p, weights("blkio", "blockIO.leafWeight", fmt.Sprint(*b.LeafWeight), "blkio.leaf_weight")...)
		}
		for _, d := range b.WeightDevice {
			if d.Weight != nil {
				p = append(p, weights("blkio", "blockIO.weightDevice", fmt.Sprintf("%d:%d %d", d.Major, d.Minor, *d.Weight), "blkio.bfq.weight_device", "blkio.weight_device")...)
			}
			if d.LeafWeight != nil {
				p = append(p, weights("blkio", "blockIO.weightDevice leafWeight", fmt.Sprintf("%d:%d %d", d.Major, d.Minor, *d.LeafWeight), "blkio.leaf_weight_device")...)
			}
		}
		for _, t := range []struct {
			file    string
			devices []specs.LinuxThrottleDevice
		}{
			{"blkio.throttle.read_bps_device", b.ThrottleReadBpsDevice}, {"blkio.throttle.write_bps_device", b.ThrottleWriteBpsDevice},
			{"blkio.throttle.read_iops_device", b.ThrottleReadIOPSDevice}, {"blkio.throttle.write_iops_device", b.ThrottleWriteIOPSDevice},
		} {
			for _, d := range t.devices {
				add("blkio", t.file, fmt.Sprintf("%d:%d %d", d.Major, d.Minor, d.Rate))
			}
		}
	}
	for _, h := range r.HugepageLimits {
		add("hugetlb", "hugetlb."+h.Pagesize+".limit_in_bytes", strconv.FormatUint(h.Limit, 10))
	}
	if n := r.Network; n != nil {
		if n.ClassID != nil && *n.ClassID != 0 {
			add("net_cls", "net_cls.classid", strconv.FormatUint(uint64(*n.ClassID), 10))
		}
		for _, prio := range n.Priorities {
			add("net_prio", "net_prio.ifpriomap", fmt.Sprintf("%s %d", prio.Name, prio.Priority))
		}
	}
	p = append(p, planRdma("rdma", r.Rdma)...)
	if len(r.Unified) > 0 {
		return nil, errors.New("set unified cgroup values: this host has its controllers in version 1")
	}
	return p, nil
}

// weights writes a share of block devices' time into each file that a scheduler may have for it.
func weights(controller, field, value string, files ...string) (p []Write) {
	for i, file := range files {
		w := Write{Controller: controller, File: file, Value: value, Optional: true, Or: i > 0}
		if i == len(files)-1 {
			w.Lost = field + " " + value
		}
		p = append(p, w)
	}
	return p
}

func planRdma(controller string, rdma map[string]specs.LinuxRdma) (p []Write) {
	for device, l := range rdma {
		value := device
		if l.HcaHandles != nil {
			value += fmt.Sprintf(" hca_handle=%d", *l.HcaHandles)
		}
		if l.HcaObjects != nil {
			value += fmt.Sprintf(" hca_object=%d", *l.HcaObjects)
		}
		p = append(p, Write{Controller: controller, File: "rdma.max", Value: value})
	}
	return p
}

func signed(n int64) string { return strconv.FormatInt(n, 10) }

// pidsMax words a limit of processes; 0 and below mean none.
func pidsMax(n int64) string {
	if n <= 0 {
		return "max"
	}
	return strconv.FormatInt(n, 10)
}

// PlanDevicesV1 tells the writes for devices.allow and devices.deny: nothing is allowed at first unless the first rule
// allows everything, then the rules in order, then what every container may use.
func PlanDevicesV1(rules []specs.LinuxDeviceCgroup) []Write {
	if allowsAll(rules) {
		return []Write{{Controller: "devices", File: "devices.allow", Value: "a"}}
	}
	p := []Write{{Controller: "devices", File: "devices.deny", Value: "a"}}
	for _, r := range append(append([]specs.LinuxDeviceCgroup{}, rules...), defaultDevices...) {
		if wildcard(r) {
			if !r.Allow {
				p = p[:0]
			}
			file := "devices.deny"
			if r.Allow {
				file = "devices.allow"
			}
			p = append(p, Write{Controller: "devices", File: file, Value: "a"})
			continue
		}
		file := "devices.deny"
		if r.Allow {
			file = "devices.allow"
		}
		types := []string{r.Type}
		if r.Type == "" || r.Type == "a" {
			types = []string{"b", "c"}
		}
		for _, typ := range types {
			p = append(p, Write{Controller: "devices", File: file, Value: fmt.Sprintf("%s %s:%s %s", typ, number(r.Major), number(r.Minor), r.Access)})
		}
	}
	return p
}

// allowsAll: the last rule for every device allows it, and no later one takes away.
func allowsAll(rules []specs.LinuxDeviceCgroup) bool {
	all := false
	for _, r := range rules {
		switch {
		case wildcard(r):
			all = r.Allow
		case !r.Allow:
			all = false
		}
	}
	return all
}

func wildcard(r specs.LinuxDeviceCgroup) bool {
	return (r.Type == "" || r.Type == "a") && every(r.Major) && every(r.Minor) &&
		(r.Access == "" || strings.Contains(r.Access, "r") && strings.Contains(r.Access, "w") && strings.Contains(r.Access, "m"))
}

func every(n *int64) bool { return n == nil || *n == -1 }

func number(n *int64) string {
	if every(n) {
		return "*"
	}
	return strconv.FormatInt(*n, 10)
}

// defaultDevices are what the runtime specification lets every container use (config-linux.md, default devices), its own
// terminals, and making any device node: a node alone gives nothing.
var defaultDevices = func() []specs.LinuxDeviceCgroup {
	n := func(i int64) *int64 { return &i }
	d := func(major, minor int64) specs.LinuxDeviceCgroup {
		r := specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: n(major), Minor: n(minor), Access: "rwm"}
		return r
	}
	return []specs.LinuxDeviceCgroup{
		{Allow: true, Type: "c", Access: "m"}, {Allow: true, Type: "b", Access: "m"},
		d(1, 3), d(1, 5), d(1, 7), d(1, 8), d(1, 9), d(5, 0), d(5, 1), d(5, 2), d(136, -1),
	}
}()
