package spec

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// resources writes limits into a specification.
func resources(r Resources, out *specs.LinuxResources) error {
	cpu := specs.LinuxCPU{Shares: r.CPUShares, Quota: r.CPUQuota, Period: r.CPUPeriod, Cpus: r.Cpus, Mems: r.Mems}
	if cpu != (specs.LinuxCPU{}) {
		out.CPU = &cpu
	}
	memory := specs.LinuxMemory{Limit: r.Memory, Swap: r.Swap, Reservation: r.Reserve, DisableOOMKiller: r.OOMDisable, Swappiness: r.Swappiness}
	if memory != (specs.LinuxMemory{}) {
		out.Memory = &memory
	}
	if r.Pids != nil {
		out.Pids = &specs.LinuxPids{Limit: r.Pids}
	}
	if r.BlkioWeight != nil {
		out.BlockIO = &specs.LinuxBlockIO{Weight: r.BlkioWeight}
	}
	if err := r.BlockIO.write(out); err != nil {
		return err
	}
	for size, limit := range r.Huge {
		out.HugepageLimits = append(out.HugepageLimits, specs.LinuxHugepageLimit{Pagesize: size, Limit: limit})
	}
	slices.SortFunc(out.HugepageLimits, func(a, b specs.LinuxHugepageLimit) int { return strings.Compare(a.Pagesize, b.Pagesize) })
	out.Unified = r.Unified
	out.Devices = append(out.Devices, r.Devices...)
	return nil
}

// lists are the device lists of b with the place in the specification that each fills.
func (b *BlockIO) lists(to *specs.LinuxBlockIO) []blockList {
	throttle := func(to *[]specs.LinuxThrottleDevice) func(major, minor int64, rate uint64) {
		return func(major, minor int64, rate uint64) {
			d := specs.LinuxThrottleDevice{Rate: rate}
			d.Major, d.Minor = major, minor
			*to = append(*to, d)
		}
	}
	return []blockList{
		{"weight", &b.Weight, func(major, minor int64, rate uint64) {
			w := uint16(rate)
			d := specs.LinuxWeightDevice{Weight: &w}
			d.Major, d.Minor = major, minor
			to.WeightDevice = append(to.WeightDevice, d)
		}},
		{"read rate", &b.ReadBps, throttle(&to.ThrottleReadBpsDevice)}, {"write rate", &b.WriteBps, throttle(&to.ThrottleWriteBpsDevice)},
		{"read operations", &b.ReadIOps, throttle(&to.ThrottleReadIOPSDevice)}, {"write operations", &b.WriteIOps, throttle(&to.ThrottleWriteIOPSDevice)},
	}
}

type blockList struct {
	what string
	of   *[]DeviceRate
	add  func(major, minor int64, rate uint64)
}

func (b BlockIO) write(out *specs.LinuxResources) error {
	to := out.BlockIO
	if to == nil {
		to = &specs.LinuxBlockIO{}
	}
	used := false
	for _, l := range b.lists(to) {
		for _, d := range *l.of {
			major, minor, err := blockDevice(d.Path)
			if err != nil {
				return fmt.Errorf("limit %s of %s: %w", l.what, d.Path, err)
			}
			l.add(major, minor, d.Rate)
			used = true
		}
	}
	if used {
		out.BlockIO = to
	}
	return nil
}

// blockDevice finds the numbers of the device whose node is at path.
func blockDevice(path string) (major, minor int64, err error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, 0, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return 0, 0, errors.New("not a block device")
	}
	return int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev)), nil
}

// ToLinux is the specification's form of limits, for an update of a running container.
func (r Resources) ToLinux() (*specs.LinuxResources, error) {
	out := &specs.LinuxResources{}
	return out, resources(r, out)
}

// Over is the change that brings a running container from the limits old to what r changes in them: devices that a list of r does not name
// any more get the rate 0, which the kernel takes for none.
func (r Resources) Over(old Resources) Resources {
	now, was := r.BlockIO.lists(&specs.LinuxBlockIO{}), old.BlockIO.lists(&specs.LinuxBlockIO{})
	for i, l := range now {
		if *l.of == nil {
			continue
		}
		all := slices.Clone(*l.of)
		for _, d := range *was[i].of {
			if !slices.ContainsFunc(all, func(n DeviceRate) bool { return n.Path == d.Path }) {
				all = append(all, DeviceRate{Path: d.Path})
			}
		}
		*l.of = all
	}
	return r
}

// With returns r changed by what is set in o.
func (r Resources) With(o Resources) Resources {
	set(&r.CPUShares, o.CPUShares)
	set(&r.CPUPeriod, o.CPUPeriod)
	set(&r.CPUQuota, o.CPUQuota)
	set(&r.Memory, o.Memory)
	set(&r.Swap, o.Swap)
	set(&r.Reserve, o.Reserve)
	set(&r.Swappiness, o.Swappiness)
	set(&r.OOMDisable, o.OOMDisable)
	set(&r.Pids, o.Pids)
	set(&r.BlkioWeight, o.BlkioWeight)
	r.Cpus, r.Mems = first(o.Cpus, r.Cpus), first(o.Mems, r.Mems)
	if len(o.Huge) > 0 {
		r.Huge = o.Huge
	}
	if len(o.Unified) > 0 {
		r.Unified = o.Unified
	}
	wished := o.BlockIO.lists(&specs.LinuxBlockIO{})
	for i, l := range r.BlockIO.lists(&specs.LinuxBlockIO{}) {
		if *wished[i].of != nil {
			*l.of = *wished[i].of
		}
	}
	return r
}

// set replaces a by b if there is a b.
func set[T any](a **T, b *T) {
	if b != nil {
		*a = b
	}
}
