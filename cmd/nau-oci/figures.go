package main

import "nau/internal/oci/monitor"

// figures words a container's figures as runc's events command does, so that what reads those reads these.
func figures(s monitor.Stats) map[string]any {
	entry := func(usage, limit, peak uint64) map[string]uint64 {
		return map[string]uint64{"usage": usage, "limit": limit, "max": peak}
	}
	io := []map[string]any{}
	ops := []map[string]any{}
	for _, d := range s.IO {
		row := func(op string, value uint64) map[string]any {
			return map[string]any{"major": d.Major, "minor": d.Minor, "op": op, "value": value}
		}
		io = append(io, row("Read", d.ReadBytes), row("Write", d.WriteBytes))
		ops = append(ops, row("Read", d.ReadOps), row("Write", d.WriteOps))
	}
	return map[string]any{
		"cpu": map[string]any{
			"usage":      map[string]uint64{"total": s.CPU.Usage, "kernel": s.CPU.System, "user": s.CPU.User},
			"throttling": map[string]uint64{"periods": s.CPU.Periods, "throttledPeriods": s.CPU.ThrottledPeriods, "throttledTime": s.CPU.ThrottledTime},
		},
		"memory": map[string]any{
			"cache": s.Memory.Cache,
			"usage": entry(s.Memory.Usage, s.Memory.Limit, s.Memory.MaxUsage),
			"raw": map[string]uint64{"rss": s.Memory.RSS, "cache": s.Memory.Cache, "inactive_file": s.Memory.InactiveFile,
				"total_inactive_file": s.Memory.InactiveFile, "pgfault": s.Memory.PageFaults, "pgmajfault": s.Memory.MajorFaults},
		},
		"pids":  map[string]uint64{"current": s.Pids.Current, "limit": s.Pids.Limit},
		"blkio": map[string]any{"ioServiceBytesRecursive": io, "ioServicedRecursive": ops},
	}
}
