package anatomy

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"nau/internal/kernel"
)

// cgroupFile names a file worth showing, and whether it is a setting.
type cgroupFile struct {
	name  string
	limit bool
}

// version1 are the files of each controller, version2 those of the unified hierarchy, as the kernel documents them
// (admin-guide/cgroup-v1, admin-guide/cgroup-v2.rst). Those that a kernel lacks are left out.
var version1 = map[string][]cgroupFile{
	"cpu":     {{"cpu.shares", true}, {"cpu.cfs_quota_us", true}, {"cpu.cfs_period_us", true}, {"cpu.stat", false}},
	"cpuacct": {{"cpuacct.usage", false}},
	"cpuset":  {{"cpuset.cpus", true}, {"cpuset.mems", true}},
	"memory": {{"memory.limit_in_bytes", true}, {"memory.memsw.limit_in_bytes", true}, {"memory.soft_limit_in_bytes", true},
		{"memory.usage_in_bytes", false}, {"memory.max_usage_in_bytes", false}, {"memory.failcnt", false}},
	"pids":    {{"pids.max", true}, {"pids.current", false}},
	"devices": {{"devices.list", true}},
	"freezer": {{"freezer.state", true}},
	"blkio":   {{"blkio.weight", true}, {"blkio.bfq.weight", true}},
	"hugetlb": {{"hugetlb.2MB.limit_in_bytes", true}},
}

var version2 = []cgroupFile{{"cgroup.controllers", false}, {"cpu.weight", true}, {"cpu.max", true}, {"cpu.stat", false}, {"cpuset.cpus", true},
	{"cpuset.cpus.effective", false}, {"memory.min", true}, {"memory.low", true}, {"memory.high", true}, {"memory.max", true}, {"memory.swap.max", true},
	{"memory.current", false}, {"memory.peak", false}, {"memory.events", false}, {"pids.max", true}, {"pids.current", false}, {"io.weight", true},
	{"io.max", true}, {"io.stat", false}, {"cgroup.freeze", true}}

// cgroups reads the places of a process, given the text of its cgroup file.
func cgroups(layout *kernel.CgroupLayout, text string) Cgroups {
	out := Cgroups{Mode: string(layout.Mode)}
	lines := ParseCgroup(text)
	for _, h := range layout.Hierarchies {
		i := slices.IndexFunc(lines, func(l CgroupLine) bool { return sameControllers(l.Controllers, h) })
		if i < 0 {
			continue
		}
		g := Cgroup{Controllers: h.Controllers, Unified: h.Unified, Path: lines[i].Path, Dir: h.Dir(lines[i].Path)}
		files := version2
		if !h.Unified {
			files = nil
			for _, c := range h.Controllers {
				files = append(files, version1[c]...)
			}
		}
		for _, f := range files {
			value, ok := cgroupValue(g.Dir, f.name)
			if !ok || f.name == "cgroup.controllers" && value == "" {
				continue
			}
			g.Files = append(g.Files, CgroupFile{Name: f.name, Value: value, Limit: f.limit})
		}
		g.Files = append(g.Files, shared(g.Dir, files)...)
		out.Groups = append(out.Groups, g)
	}
	explain(&out)
	return out
}

// above is the group that a sandbox's containers share.
const above = "../"

// caps are the files whose limit holds for all groups below too.
var caps = []string{"cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.max", "memory.limit_in_bytes", "memory.max", "pids.max"}

// shared reads the limits of the group above, those that are.
func shared(dir string, files []cgroupFile) (out []CgroupFile) {
	for _, f := range files {
		value, ok := cgroupValue(dir, above+f.name)
		if !ok || !slices.Contains(caps, f.name) || value == "-1" || strings.HasPrefix(value, "max") || amount(value) == "no limit" {
			continue
		}
		if f.name == "cpu.cfs_period_us" && !slices.ContainsFunc(out, func(f CgroupFile) bool { return f.Name == above+"cpu.cfs_quota_us" }) {
			continue
		}
		out = append(out, CgroupFile{Name: above + f.name, Value: value, Limit: true})
	}
	return out
}

// cgroupValue reads a file, lines joined by "; "; false where the kernel has none or the controller is not enabled there.
func cgroupValue(dir, name string) (string, bool) {
	b, err := os.ReadFile(filepath.Join(dir, name))
	return strings.ReplaceAll(strings.TrimSpace(string(b)), "\n", "; "), err == nil
}

func sameControllers(line string, h kernel.CgroupHierarchy) bool {
	if h.Unified {
		return line == ""
	}
	have := strings.Split(line, ",")
	return len(have) == len(h.Controllers) && !slices.ContainsFunc(have, func(c string) bool { return !slices.Contains(h.Controllers, c) })
}

// explain says in words what the files' values mean.
func explain(c *Cgroups) {
	for _, g := range c.Groups {
		value := func(name string) string {
			for _, f := range g.Files {
				if f.Name == name {
					return f.Value
				}
			}
			return ""
		}
		for i := range g.Files {
			f := &g.Files[i]
			name, all := strings.CutPrefix(f.Name, above)
			switch name {
			case "cpu.cfs_quota_us":
				f.Means = cpus(f.Value, value(f.Name[:len(f.Name)-len(name)]+"cpu.cfs_period_us"))
			case "cpu.max":
				quota, period, _ := strings.Cut(f.Value, " ")
				f.Means = cpus(quota, period)
			case "cpu.shares":
				f.Means = "weight against its siblings; 1024 is one whole CPU's"
			case "cpu.weight":
				f.Means = "weight against its siblings; 100 is the kernel's default"
			case "cpuacct.usage":
				if n, err := strconv.ParseFloat(f.Value, 64); err == nil {
					f.Means = fmt.Sprintf("%.3f s of CPU time so far", n/1e9)
				}
			case "memory.failcnt":
				f.Means = "times that the limit was hit"
			case "freezer.state", "cgroup.freeze":
				f.Means = "how `pause` stops all processes at once"
			case "devices.list":
				f.Means = "device nodes that may be made (m), read (r), written (w)"
			case "pids.max":
				f.Means = map[bool]string{true: "no limit", false: "tasks, the guard against fork bombs"}[f.Value == "max"]
			default:
				if strings.HasSuffix(name, "_in_bytes") || strings.HasPrefix(name, "memory.") && !strings.Contains(f.Value, " ") {
					f.Means = amount(f.Value)
				}
			}
			if all && f.Means != "" {
				f.Means += ", for all of the sandbox together"
			}
		}
	}
}

func cpus(quota, period string) string {
	q, err1 := strconv.ParseFloat(quota, 64)
	p, err2 := strconv.ParseFloat(period, 64)
	if err1 != nil || err2 != nil || q < 0 || p == 0 {
		return "no limit"
	}
	return fmt.Sprintf("%g CPUs: %g ms of every %g ms", q/p, q/1000, p/1000)
}

// amount says a number of bytes; what no machine has is no limit.
func amount(value string) string {
	n, err := strconv.ParseUint(value, 10, 64)
	if value == "max" || err == nil && n >= 1<<60 {
		return "no limit"
	}
	if err != nil {
		return ""
	}
	return size(int64(n))
}

// size writes bytes for people.
func size(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/1024, 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	return strings.Replace(fmt.Sprintf("%.1f %ciB", f, units[i]), ".0 ", " ", 1)
}
