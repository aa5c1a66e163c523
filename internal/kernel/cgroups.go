package kernel

import (
	"fmt"
	"math"
	"os"
	"path"
	"sort"
	"strings"
	"sync"
)

// CgroupMode is how the host mounts cgroups.
type CgroupMode string

// The modes. Hybrid has version 1 controllers and a version 2 hierarchy without, for grouping only.
const (
	CgroupV1     CgroupMode = "v1"
	CgroupV2     CgroupMode = "v2"
	CgroupHybrid CgroupMode = "hybrid"
	CgroupNone   CgroupMode = "none"
)

// CgroupHierarchy is one mounted tree of cgroups.
type CgroupHierarchy struct {
	Mount       string   // mount point
	Root        string   // the cgroup that is shown at Mount, "/" unless inside a container
	Controllers []string // of version 1; "name=systemd" for a named one; empty for version 2
	Unified     bool     // version 2
}

// CgroupLayout is what a host has mounted.
type CgroupLayout struct {
	Mode        CgroupMode
	Hierarchies []CgroupHierarchy // version 2 last
}

// Unified is the version 2 hierarchy, if any.
func (l *CgroupLayout) Unified() (CgroupHierarchy, bool) {
	for _, h := range l.Hierarchies {
		if h.Unified {
			return h, true
		}
	}
	return CgroupHierarchy{}, false
}

// Controller is the version 1 hierarchy that has the controller.
func (l *CgroupLayout) Controller(name string) (CgroupHierarchy, bool) {
	for _, h := range l.Hierarchies {
		for _, c := range h.Controllers {
			if c == name {
				return h, true
			}
		}
	}
	return CgroupHierarchy{}, false
}

// Cgroups reads the host's layout once.
var Cgroups = sync.OnceValues(func() (*CgroupLayout, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	return ParseCgroupMounts(string(b)), nil
})

// v1Controllers are the mount options that name controllers.
var v1Controllers = map[string]bool{"cpu": true, "cpuacct": true, "cpuset": true, "memory": true, "devices": true, "freezer": true, "blkio": true,
	"pids": true, "hugetlb": true, "net_cls": true, "net_prio": true, "perf_event": true, "rdma": true, "misc": true, "debug": true, "dmem": true}

// ParseCgroupMounts decides the layout from the text of mountinfo, see proc_pid_mountinfo(5). The first mount of a
// hierarchy counts; a mount that does not show the hierarchy's root counts only where no other does.
func ParseCgroupMounts(mountinfo string) *CgroupLayout {
	found := map[string]CgroupHierarchy{}
	for line := range strings.Lines(mountinfo) {
		left, right, ok := strings.Cut(strings.TrimSpace(line), " - ")
		if !ok {
			continue
		}
		l, r := strings.Fields(left), strings.Fields(right)
		if len(l) < 6 || len(r) < 3 {
			continue
		}
		h := CgroupHierarchy{Root: unescapeMount(l[3]), Mount: unescapeMount(l[4])}
		switch r[0] {
		case "cgroup2":
			h.Unified = true
		case "cgroup":
			for _, o := range strings.Split(r[2], ",") {
				if v1Controllers[o] || strings.HasPrefix(o, "name=") {
					h.Controllers = append(h.Controllers, o)
				}
			}
			if len(h.Controllers) == 0 {
				continue
			}
		default:
			continue
		}
		key := strings.Join(h.Controllers, ",")
		if old, ok := found[key]; !ok || old.Root != "/" && h.Root == "/" {
			found[key] = h
		}
	}
	layout := &CgroupLayout{Mode: CgroupNone}
	keys := make([]string, 0, len(found))
	controllers := 0
	for k, h := range found {
		if k != "" {
			keys = append(keys, k)
		}
		if !h.Unified {
			controllers++
		}
	}
	sort.Strings(keys)
	for _, k := range keys {
		layout.Hierarchies = append(layout.Hierarchies, found[k])
	}
	unified, ok := found[""]
	if ok {
		layout.Hierarchies = append(layout.Hierarchies, unified)
	}
	switch {
	case ok && controllers > 0:
		layout.Mode = CgroupHybrid
	case ok:
		layout.Mode = CgroupV2
	case controllers > 0:
		layout.Mode = CgroupV1
	}
	return layout
}

// unescapeMount decodes the octal escapes of mountinfo.
func unescapeMount(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			b.WriteByte((s[i+1]-'0')<<6 | (s[i+2]-'0')<<3 | (s[i+3] - '0'))
			i += 3
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// OwnCgroup is the calling process's cgroup in the hierarchy, as a path below the hierarchy's root.
func (h CgroupHierarchy) OwnCgroup() (string, error) { return h.CgroupOf("self") }

// CgroupOf is a process's cgroup in the hierarchy. pid may be "self".
func (h CgroupHierarchy) CgroupOf(pid string) (string, error) {
	b, err := os.ReadFile("/proc/" + pid + "/cgroup")
	if err != nil {
		return "", fmt.Errorf("read cgroups of process %s: %w", pid, err)
	}
	want := strings.Join(h.Controllers, ",")
	for line := range strings.Lines(string(b)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) == 3 && (parts[1] == want || len(h.Controllers) > 0 && sameSet(parts[1], h.Controllers)) {
			return parts[2], nil
		}
	}
	return "", fmt.Errorf("find cgroup of process %s in hierarchy %q", pid, want)
}

func sameSet(list string, want []string) bool {
	have := strings.Split(list, ",")
	if len(have) != len(want) {
		return false
	}
	set := map[string]bool{}
	for _, h := range have {
		set[h] = true
	}
	for _, w := range want {
		if !set[w] {
			return false
		}
	}
	return true
}

// Dir is the folder of a cgroup in the hierarchy.
func (h CgroupHierarchy) Dir(cgroup string) string {
	if h.Root != "/" {
		cgroup = strings.TrimPrefix(path.Clean("/"+cgroup), h.Root)
	}
	return path.Join(h.Mount, cgroup)
}

// CPUWeight converts version 1's shares (2…262144) to version 2's weight (1…10000). It is the curve that runtimes and Kubernetes have agreed upon
// since 2025: a default of 1024 shares gives the default weight, 100, and the ends meet. log10 of the weight is (l²+125·l)/612 − 7/34, with l the
// logarithm of the shares to base 2.
func CPUWeight(shares uint64) uint64 {
	switch {
	case shares <= 2:
		return 1
	case shares >= 262144:
		return 10000
	}
	l := math.Log2(float64(shares))
	return uint64(math.Ceil(math.Pow(10, (l*l+125*l)/612-7.0/34)))
}
