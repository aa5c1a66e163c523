package docker

import (
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/blkiodev"
	dc "github.com/moby/moby/api/types/container"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"nau/internal/engine/spec"
)

// cpuPeriod is the period, in µs, that --cpus is a share of.
const cpuPeriod = 100_000

// leastMemory is the least memory that a container may be limited to.
const leastMemory = 6 << 20

// limits are the resources of a host configuration, checked. What this machine cannot limit is taken out of r and warned of.
func limits(r *dc.Resources, can support) (out spec.Resources, warnings []string, err error) {
	for _, check := range []func(*dc.Resources, support) ([]string, error){checkMemory, checkCPU, checkBlockIO, checkOthers} {
		w, err := check(r, can)
		warnings = append(warnings, w...)
		if err != nil {
			return out, warnings, err
		}
	}
	positive := func(n int64) *int64 {
		if n > 0 {
			return &n
		}
		return nil
	}
	unsigned := func(n int64) *uint64 {
		if v := uint64(n); n > 0 {
			return &v
		}
		return nil
	}
	out.Memory, out.Reserve = positive(r.Memory), positive(r.MemoryReservation)
	if r.MemorySwap != 0 {
		swap := r.MemorySwap
		out.Swap = &swap
	}
	if r.MemorySwappiness != nil && *r.MemorySwappiness >= 0 {
		v := uint64(*r.MemorySwappiness)
		out.Swappiness = &v
	}
	if r.OomKillDisable != nil && *r.OomKillDisable {
		out.OOMDisable = r.OomKillDisable
	}
	out.CPUShares = unsigned(r.CPUShares)
	period, quota := r.CPUPeriod, r.CPUQuota
	if r.NanoCPUs > 0 {
		period, quota = cpuPeriod, r.NanoCPUs*cpuPeriod/1e9
	}
	out.CPUPeriod = unsigned(period)
	if quota != 0 {
		out.CPUQuota = &quota
	}
	out.Cpus, out.Mems = r.CpusetCpus, r.CpusetMems
	if r.PidsLimit != nil {
		n := *r.PidsLimit
		if n <= 0 {
			n = -1
		}
		out.Pids = &n
	}
	if r.BlkioWeight != 0 {
		w := r.BlkioWeight
		out.BlkioWeight = &w
	}
	out.BlockIO = blockIO(r)
	for _, rule := range r.DeviceCgroupRules {
		d, err := parseDeviceRule(rule)
		if err != nil {
			return out, warnings, err
		}
		out.Devices = append(out.Devices, d)
	}
	return out, warnings, nil
}

func checkMemory(r *dc.Resources, can support) (warnings []string, err error) {
	discard := func(supported bool, set bool, text string, clear func()) {
		if set && !supported {
			clear()
			warnings = append(warnings, text)
		}
	}
	if r.Memory > 0 && r.Memory < leastMemory {
		return nil, badRequest("Minimum memory limit allowed is 6MB")
	}
	discard(can.Memory, r.Memory > 0, "Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded.", func() { r.Memory, r.MemorySwap = 0, -1 })
	discard(can.Swap, r.Memory > 0 && r.MemorySwap > 0, "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap.", func() { r.MemorySwap = -1 })
	if r.Memory > 0 && r.MemorySwap > 0 && r.MemorySwap < r.Memory {
		return warnings, badRequest("Minimum memoryswap limit should be larger than memory limit, see usage")
	}
	if r.Memory == 0 && r.MemorySwap > 0 {
		return warnings, badRequest("You should always set the Memory limit when using Memoryswap limit, see usage")
	}
	if n := r.MemorySwappiness; n != nil && *n != -1 {
		if *n < 0 || *n > 100 {
			return warnings, badRequest("Invalid value: %v, valid memory swappiness range is 0-100", *n)
		}
		discard(can.Swappiness, true, "Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory swappiness discarded.", func() { r.MemorySwappiness = nil })
	}
	discard(can.Reservation, r.MemoryReservation > 0, "Your kernel does not support memory soft limit capabilities or the cgroup is not mounted. Limitation discarded.", func() { r.MemoryReservation = 0 })
	if r.MemoryReservation > 0 && r.MemoryReservation < leastMemory {
		return warnings, badRequest("Minimum memory reservation allowed is 6MB")
	}
	if r.Memory > 0 && r.MemoryReservation > 0 && r.Memory < r.MemoryReservation {
		return warnings, badRequest("Minimum memory limit can not be less than memory reservation limit, see usage")
	}
	if r.OomKillDisable != nil && *r.OomKillDisable {
		if r.Memory == 0 {
			warnings = append(warnings, "OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.")
		}
		discard(can.OOMKillDisable, true, "Your kernel does not support OomKillDisable. OomKillDisable discarded.", func() { r.OomKillDisable = nil })
	}
	return warnings, nil
}

func checkCPU(r *dc.Resources, can support) (warnings []string, err error) {
	if r.NanoCPUs > 0 && (r.CPUPeriod > 0 || r.CPUQuota > 0) {
		what := "Quota"
		if r.CPUPeriod > 0 {
			what = "Period"
		}
		return nil, badRequest("Conflicting options: Nano CPUs and CPU %s cannot both be set", what)
	}
	if r.NanoCPUs < 0 || r.NanoCPUs > int64(can.CPUs)*1e9 {
		return nil, badRequest("range of CPUs is from 0.01 to %d.00, as there are only %d CPUs available", can.CPUs, can.CPUs)
	}
	if r.NanoCPUs > 0 && !can.CFS {
		return nil, badRequest("NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the cgroup is not mounted")
	}
	if r.CPUShares < 0 {
		return nil, badRequest("invalid CPU shares (%d): value must be a positive integer", r.CPUShares)
	}
	if r.CPUShares > 0 && !can.CPUShares {
		warnings = append(warnings, "Your kernel does not support CPU shares or the cgroup is not mounted. Shares discarded.")
		r.CPUShares = 0
	}
	if (r.CPUPeriod != 0 || r.CPUQuota != 0) && !can.CFS {
		warnings = append(warnings, "Your kernel does not support CPU CFS scheduler. CPU period/quota discarded.")
		r.CPUPeriod, r.CPUQuota = 0, 0
	}
	if r.CPUPeriod != 0 && (r.CPUPeriod < 1000 || r.CPUPeriod > 1_000_000) {
		return warnings, badRequest("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
	}
	if r.CPUQuota > 0 && r.CPUQuota < 1000 {
		return warnings, badRequest("CPU cfs quota can not be less than 1ms (i.e. 1000)")
	}
	// A budget for containers would have to be handed down from the root, and be taken from the host's own real-time processes.
	if r.CPURealtimePeriod != 0 || r.CPURealtimeRuntime != 0 {
		return warnings, badRequest("kernel does not support CPU real-time scheduler, or has no budget of it for containers")
	}
	if (r.CpusetCpus != "" || r.CpusetMems != "") && !can.Cpuset {
		warnings = append(warnings, "Your kernel does not support cpuset or the cgroup is not mounted. Cpuset discarded.")
		r.CpusetCpus, r.CpusetMems = "", ""
	}
	for _, l := range []struct{ want, have, file, what string }{{r.CpusetCpus, can.Cpus, "cpus", "CPUs"}, {r.CpusetMems, can.Mems, "mems", "memory nodes"}} {
		inside, valid := within(l.want, l.have)
		if !valid {
			return warnings, badRequest("Invalid value %s for cpuset %s", l.want, l.file)
		}
		if !inside {
			return warnings, badRequest("Requested %s are not available - requested %s, available: %s", l.what, l.want, l.have)
		}
	}
	return warnings, nil
}

func checkBlockIO(r *dc.Resources, can support) (warnings []string, err error) {
	if r.BlkioWeight > 0 && !can.Weight {
		warnings = append(warnings, "Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.")
		r.BlkioWeight = 0
	}
	if r.BlkioWeight > 0 && (r.BlkioWeight < 10 || r.BlkioWeight > 1000) {
		return warnings, badRequest("Range of blkio weight is from 10 to 1000")
	}
	if len(r.BlkioWeightDevice) > 0 && !can.WeightOf {
		warnings = append(warnings, "Your kernel does not support Block I/O weight_device or the cgroup is not mounted. Weight-device discarded.")
		r.BlkioWeightDevice = nil
	}
	for _, d := range r.BlkioWeightDevice {
		if d.Weight < 10 || d.Weight > 1000 {
			return warnings, badRequest("Range of blkio weight is from 10 to 1000: %s asks for %d", d.Path, d.Weight)
		}
	}
	for _, l := range []struct {
		can  bool
		of   *[]*blkiodev.ThrottleDevice
		what string
	}{{can.ReadBps, &r.BlkioDeviceReadBps, "BPS Block I/O read limit"}, {can.WriteBps, &r.BlkioDeviceWriteBps, "BPS Block I/O write limit"},
		{can.ReadIOps, &r.BlkioDeviceReadIOps, "IOPS Block read limit"}, {can.WriteIOps, &r.BlkioDeviceWriteIOps, "IOPS Block I/O write limit"}} {
		if len(*l.of) > 0 && !l.can {
			warnings = append(warnings, "Your kernel does not support "+l.what+" or the cgroup is not mounted. Block I/O limit discarded.")
			*l.of = nil
		}
	}
	return warnings, nil
}

// checkOthers discards a limit of processes that cannot be had, and what is for Windows or refuses it, as Docker does.
func checkOthers(r *dc.Resources, can support) (warnings []string, err error) {
	if r.PidsLimit != nil && *r.PidsLimit != 0 && !can.Pids {
		warnings = append(warnings, "Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. PIDs limit discarded.")
		r.PidsLimit = nil
	}
	if r.CPUPercent > 0 {
		warnings = append(warnings, "linux does not support CPU percent. Percent discarded.")
		r.CPUPercent = 0
	}
	switch {
	case r.IOMaximumBandwidth != 0:
		return warnings, badRequest("invalid option: QoS maximum bandwidth configuration is not supported on linux")
	case r.IOMaximumIOps != 0:
		return warnings, badRequest("invalid option: QoS maximum IOPs configuration is not supported on linux")
	}
	return warnings, nil
}

func blockIO(r *dc.Resources) (out spec.BlockIO) {
	for _, d := range r.BlkioWeightDevice {
		out.Weight = append(out.Weight, spec.DeviceRate{Path: d.Path, Rate: uint64(d.Weight)})
	}
	rates := func(list []*blkiodev.ThrottleDevice) []spec.DeviceRate {
		if list == nil {
			return nil
		}
		rates := []spec.DeviceRate{}
		for _, d := range list {
			rates = append(rates, spec.DeviceRate{Path: d.Path, Rate: d.Rate})
		}
		return rates
	}
	if r.BlkioWeightDevice != nil && out.Weight == nil {
		out.Weight = []spec.DeviceRate{}
	}
	out.ReadBps, out.WriteBps, out.ReadIOps, out.WriteIOps = rates(r.BlkioDeviceReadBps), rates(r.BlkioDeviceWriteBps), rates(r.BlkioDeviceReadIOps), rates(r.BlkioDeviceWriteIOps)
	return out
}

// parseDeviceRule reads "c 1:3 rwm", "a *:* r".
func parseDeviceRule(rule string) (specs.LinuxDeviceCgroup, error) {
	d := specs.LinuxDeviceCgroup{Allow: true}
	bad := badRequest("invalid device cgroup rule format: '%s'", rule)
	f := strings.Fields(rule)
	if len(f) != 3 || !slices.Contains([]string{"a", "b", "c"}, f[0]) || strings.Trim(f[2], "rwm") != "" {
		return d, bad
	}
	d.Type, d.Access = f[0], f[2]
	major, minor, ok := strings.Cut(f[1], ":")
	if !ok {
		return d, bad
	}
	for _, n := range []struct {
		text string
		to   **int64
	}{{major, &d.Major}, {minor, &d.Minor}} {
		if n.text == "*" {
			continue
		}
		v, err := strconv.ParseInt(n.text, 10, 64)
		if err != nil {
			return d, bad
		}
		*n.to = &v
	}
	return d, nil
}

// merged lays an update over the resources that a container has. What an update cannot change is refused.
func merged(old, change dc.Resources) (dc.Resources, error) {
	for what, set := range map[string]bool{"CgroupParent": change.CgroupParent != "", "Devices": len(change.Devices) > 0, "DeviceCgroupRules": len(change.DeviceCgroupRules) > 0,
		"DeviceRequests": len(change.DeviceRequests) > 0, "Ulimits": len(change.Ulimits) > 0, "OomKillDisable": change.OomKillDisable != nil} {
		if set {
			return old, badRequest("%s cannot be changed by an update: make the container anew", what)
		}
	}
	switch {
	case change.NanoCPUs > 0 && old.CPUPeriod > 0:
		return old, conflict("Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set")
	case change.NanoCPUs > 0 && old.CPUQuota > 0:
		return old, conflict("Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set")
	case change.CPUQuota > 0 && old.NanoCPUs > 0:
		return old, conflict("Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set")
	case change.CPUPeriod > 0 && old.NanoCPUs > 0:
		return old, conflict("Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set")
	case change.Memory > 0 && change.MemorySwap == 0 && old.MemorySwap > 0 && change.Memory > old.MemorySwap:
		return old, conflict("Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time")
	}
	lay(&old.Memory, change.Memory)
	lay(&old.MemorySwap, change.MemorySwap)
	lay(&old.MemoryReservation, change.MemoryReservation)
	lay(&old.CPUShares, change.CPUShares)
	lay(&old.NanoCPUs, change.NanoCPUs)
	lay(&old.CPUPeriod, change.CPUPeriod)
	lay(&old.CPUQuota, change.CPUQuota)
	lay(&old.CPURealtimePeriod, change.CPURealtimePeriod) // for limits to refuse
	lay(&old.CPURealtimeRuntime, change.CPURealtimeRuntime)
	lay(&old.CpusetCpus, change.CpusetCpus)
	lay(&old.CpusetMems, change.CpusetMems)
	lay(&old.MemorySwappiness, change.MemorySwappiness)
	lay(&old.PidsLimit, change.PidsLimit)
	lay(&old.BlkioWeight, change.BlkioWeight)
	if change.BlkioWeightDevice != nil {
		old.BlkioWeightDevice = change.BlkioWeightDevice
	}
	for _, l := range []struct{ old, change *[]*blkiodev.ThrottleDevice }{{&old.BlkioDeviceReadBps, &change.BlkioDeviceReadBps}, {&old.BlkioDeviceWriteBps, &change.BlkioDeviceWriteBps},
		{&old.BlkioDeviceReadIOps, &change.BlkioDeviceReadIOps}, {&old.BlkioDeviceWriteIOps, &change.BlkioDeviceWriteIOps}} {
		if *l.change != nil {
			*l.old = *l.change
		}
	}
	old.CPUCount, old.CPUPercent, old.IOMaximumIOps, old.IOMaximumBandwidth = change.CPUCount, change.CPUPercent, change.IOMaximumIOps, change.IOMaximumBandwidth
	return old, nil
}

// lay replaces a value by one that is set.
func lay[T comparable](to *T, v T) {
	var unset T
	if v != unset {
		*to = v
	}
}

// ulimits maps --ulimit. Source of the names: setrlimit(2), without RLIMIT_.
func ulimits(list []*dc.Ulimit) (out []specs.POSIXRlimit, err error) {
	known := strings.Fields("as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack")
	for _, u := range list {
		if !slices.Contains(known, strings.ToLower(u.Name)) {
			return nil, badRequest("invalid ulimit type: %s", u.Name)
		}
		if u.Soft > u.Hard && u.Hard != -1 || u.Soft == -1 && u.Hard != -1 {
			return nil, badRequest("ulimit soft limit must be less than or equal to hard limit: %d > %d", u.Soft, u.Hard)
		}
		limit := specs.POSIXRlimit{Type: "RLIMIT_" + strings.ToUpper(u.Name), Hard: uint64(u.Hard), Soft: uint64(u.Soft)}
		if slices.ContainsFunc(out, func(o specs.POSIXRlimit) bool { return o.Type == limit.Type }) {
			return nil, badRequest("ulimit %s is given twice", u.Name)
		}
		out = append(out, limit)
	}
	return out, nil
}
