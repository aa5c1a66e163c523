package cgroup

import (
	"os"
	"strconv"
	"strings"

	"nau/internal/oci/monitor"
)

// Stats reads the cgroup's figures. What a host does not count is zero.
func (c *Cgroup) Stats() monitor.Stats {
	if c.v2() {
		return c.statsV2()
	}
	return c.statsV1()
}

func (c *Cgroup) statsV1() (s monitor.Stats) {
	if dir := c.Dir("cpuacct"); dir != "" {
		s.CPU.Usage = readNumber(dir, "cpuacct.usage")
		s.CPU.User = readNumber(dir, "cpuacct.usage_user")
		s.CPU.System = readNumber(dir, "cpuacct.usage_sys")
		for _, f := range strings.Fields(readText(dir, "cpuacct.usage_percpu")) {
			n, _ := strconv.ParseUint(f, 10, 64)
			s.CPU.PerCPU = append(s.CPU.PerCPU, n)
		}
	}
	if dir := c.Dir("cpu"); dir != "" {
		t := readTable(dir, "cpu.stat")
		s.CPU.Periods, s.CPU.ThrottledPeriods, s.CPU.ThrottledTime = t["nr_periods"], t["nr_throttled"], t["throttled_time"]
	}
	if dir := c.Dir("memory"); dir != "" {
		t := readTable(dir, "memory.stat")
		s.Memory.Usage = readNumber(dir, "memory.usage_in_bytes")
		s.Memory.MaxUsage = readNumber(dir, "memory.max_usage_in_bytes")
		s.Memory.Limit = unlimited(readNumber(dir, "memory.limit_in_bytes"))
		s.Memory.RSS, s.Memory.Cache, s.Memory.InactiveFile = t["total_rss"], t["total_cache"], t["total_inactive_file"]
		s.Memory.Swap, s.Memory.PageFaults, s.Memory.MajorFaults = t["total_swap"], t["total_pgfault"], t["total_pgmajfault"]
		s.Memory.OOMKills = readTable(dir, "memory.oom_control")["oom_kill"]
	}
	if dir := c.Dir("pids"); dir != "" {
		s.Pids.Current, s.Pids.Limit = readNumber(dir, "pids.current"), readNumber(dir, "pids.max")
	}
	if dir := c.Dir("blkio"); dir != "" {
		s.IO = blkio(readText(dir, "blkio.throttle.io_service_bytes"), readText(dir, "blkio.throttle.io_serviced"))
	}
	s.Memory.WorkingSet = s.Memory.Usage - min(s.Memory.Usage, s.Memory.InactiveFile)
	return s
}

func (c *Cgroup) statsV2() (s monitor.Stats) {
	dir := c.Dir("")
	cpu := readTable(dir, "cpu.stat")
	s.CPU.Usage, s.CPU.User, s.CPU.System = cpu["usage_usec"]*1000, cpu["user_usec"]*1000, cpu["system_usec"]*1000
	s.CPU.Periods, s.CPU.ThrottledPeriods, s.CPU.ThrottledTime = cpu["nr_periods"], cpu["nr_throttled"], cpu["throttled_usec"]*1000
	t := readTable(dir, "memory.stat")
	s.Memory.Usage, s.Memory.MaxUsage = readNumber(dir, "memory.current"), readNumber(dir, "memory.peak")
	s.Memory.Limit = readNumber(dir, "memory.max")
	s.Memory.RSS, s.Memory.Cache, s.Memory.InactiveFile = t["anon"], t["file"], t["inactive_file"]
	s.Memory.PageFaults, s.Memory.MajorFaults = t["pgfault"], t["pgmajfault"]
	s.Memory.Swap = readNumber(dir, "memory.swap.current")
	s.Memory.OOMKills = readTable(dir, "memory.events")["oom_kill"]
	s.Pids.Current, s.Pids.Limit = readNumber(dir, "pids.current"), readNumber(dir, "pids.max")
	s.IO = ioStat(readText(dir, "io.stat"))
	s.Memory.WorkingSet = s.Memory.Usage - min(s.Memory.Usage, s.Memory.InactiveFile)
	return s
}

// unlimited turns version 1's word for no limit, the largest multiple of a page, to zero.
func unlimited(n uint64) uint64 {
	if n >= 1<<62 {
		return 0
	}
	return n
}

func readText(dir, file string) string {
	b, _ := os.ReadFile(dir + "/" + file)
	return string(b)
}

// readNumber reads one number; "max" and a missing file are zero.
func readNumber(dir, file string) uint64 {
	n, _ := strconv.ParseUint(strings.TrimSpace(readText(dir, file)), 10, 64)
	return n
}

// readTable reads lines of "name number".
func readTable(dir, file string) map[string]uint64 { return table(readText(dir, file)) }

func table(text string) map[string]uint64 {
	t := map[string]uint64{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseUint(value, 10, 64); err == nil {
			t[name] = n
		}
	}
	return t
}

// blkio reads version 1's "8:0 Read 4096" lines of bytes and operations.
func blkio(bytes, ops string) []monitor.IOStats {
	var list []monitor.IOStats
	at := map[string]int{}
	read := func(text string, set func(s *monitor.IOStats, op string, n uint64)) {
		for line := range strings.Lines(text) {
			f := strings.Fields(line)
			if len(f) != 3 {
				continue
			}
			major, minor, ok := device(f[0])
			n, err := strconv.ParseUint(f[2], 10, 64)
			if !ok || err != nil {
				continue
			}
			i, ok := at[f[0]]
			if !ok {
				i = len(list)
				at[f[0]] = i
				list = append(list, monitor.IOStats{Major: major, Minor: minor})
			}
			set(&list[i], f[1], n)
		}
	}
	read(bytes, func(s *monitor.IOStats, op string, n uint64) {
		switch op {
		case "Read":
			s.ReadBytes = n
		case "Write":
			s.WriteBytes = n
		}
	})
	read(ops, func(s *monitor.IOStats, op string, n uint64) {
		switch op {
		case "Read":
			s.ReadOps = n
		case "Write":
			s.WriteOps = n
		}
	})
	return list
}

// ioStat reads version 2's "8:0 rbytes=… wbytes=… rios=… wios=…" lines.
func ioStat(text string) (list []monitor.IOStats) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		major, minor, ok := device(f[0])
		if !ok {
			continue
		}
		s := monitor.IOStats{Major: major, Minor: minor}
		for _, pair := range f[1:] {
			key, value, _ := strings.Cut(pair, "=")
			n, _ := strconv.ParseUint(value, 10, 64)
			switch key {
			case "rbytes":
				s.ReadBytes = n
			case "wbytes":
				s.WriteBytes = n
			case "rios":
				s.ReadOps = n
			case "wios":
				s.WriteOps = n
			}
		}
		list = append(list, s)
	}
	return list
}

func device(s string) (major, minor uint64, ok bool) {
	a, b, ok := strings.Cut(s, ":")
	if !ok {
		return 0, 0, false
	}
	major, err1 := strconv.ParseUint(a, 10, 32)
	minor, err2 := strconv.ParseUint(b, 10, 32)
	return major, minor, err1 == nil && err2 == nil
}

// OOMKills counts the processes of the cgroup that the kernel killed for want of memory.
func (c *Cgroup) OOMKills() uint64 {
	if c.v2() {
		return readTable(c.Dir(""), "memory.events")["oom_kill"]
	}
	if dir := c.Dir("memory"); dir != "" {
		return readTable(dir, "memory.oom_control")["oom_kill"]
	}
	return 0
}
