package anatomy

import (
	"fmt"
	"strconv"
	"strings"

	"nau/internal/engine/spec"
)

// MountLine is a line of /proc/PID/mountinfo, see proc_pid_mountinfo(5).
type MountLine struct {
	ID, Parent             int
	Device, Root, Target   string
	Options, Tags          string
	Type, Source, Options2 string
}

// ParseMountinfo reads mountinfo. Lines that it cannot read are left out.
func ParseMountinfo(text string) []MountLine {
	var out []MountLine
	for line := range strings.Lines(text) {
		left, right, ok := strings.Cut(strings.TrimRight(line, "\n"), " - ")
		l, r := strings.Split(left, " "), strings.SplitN(right, " ", 3)
		if !ok || len(l) < 6 || len(r) < 3 {
			continue
		}
		id, err1 := strconv.Atoi(l[0])
		parent, err2 := strconv.Atoi(l[1])
		if err1 != nil || err2 != nil {
			continue
		}
		out = append(out, MountLine{ID: id, Parent: parent, Device: l[2], Root: unescape(l[3]), Target: unescape(l[4]), Options: l[5],
			Tags: strings.Join(l[6:], " "), Type: r[0], Source: unescape(r[1]), Options2: r[2]})
	}
	return out
}

// unescape decodes the kernel's \ooo.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// ParseOverlay reads an overlay mount's own options: lowerdir in both spellings, colons and commas in names escaped by a backslash.
func ParseOverlay(super string) (r Root) {
	for _, o := range splitEscaped(super, ',') {
		key, value, _ := strings.Cut(o, "=")
		switch key {
		case "lowerdir":
			for _, l := range splitEscaped(value, ':') {
				if l != "" { // "::" begins data-only layers
					r.Lower = append(r.Lower, clean(l))
				}
			}
		case "lowerdir+", "datadir+":
			r.Lower = append(r.Lower, clean(value))
		case "upperdir":
			r.Upper = clean(value)
		case "workdir":
			r.Work = clean(value)
		case "rw", "ro", "":
		default:
			r.Options = append(r.Options, o)
		}
	}
	return r
}

func clean(s string) string { return strings.ReplaceAll(unescape(s), `\`, "") }

func splitEscaped(s string, at byte) []string {
	var out []string
	start := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case at:
			out, start = append(out, s[start:i]), i+1
		}
	}
	return append(out, s[start:])
}

// Status is what is used of /proc/PID/status.
type Status struct {
	Name, State             string
	Parent, Threads         int
	Inner                   int // process ID in the innermost namespace
	UID, GID, Groups        []int
	RSS                     int64 // bytes
	Inh, Prm, Eff, Bnd, Amb uint64
	NoNewPrivs              bool
	Seccomp, Filters        int
}

// ParseStatus reads /proc/PID/status; fields that it cannot read stay zero.
func ParseStatus(text string) (s Status) {
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimRight(line, "\n"), ":")
		if !ok {
			continue
		}
		value = strings.TrimSpace(value)
		hex := func() uint64 { n, _ := strconv.ParseUint(value, 16, 64); return n }
		num := func() int { n, _ := strconv.Atoi(value); return n }
		switch key {
		case "Name":
			s.Name = value
		case "State":
			s.State = value
		case "PPid":
			s.Parent = num()
		case "Threads":
			s.Threads = num()
		case "NSpid":
			if all := numbers(value); len(all) > 0 {
				s.Inner = all[len(all)-1]
			}
		case "Uid":
			s.UID = numbers(value)
		case "Gid":
			s.GID = numbers(value)
		case "Groups":
			s.Groups = numbers(value)
		case "VmRSS":
			kib, _ := strconv.ParseInt(strings.TrimSuffix(value, " kB"), 10, 64)
			s.RSS = kib << 10
		case "CapInh":
			s.Inh = hex()
		case "CapPrm":
			s.Prm = hex()
		case "CapEff":
			s.Eff = hex()
		case "CapBnd":
			s.Bnd = hex()
		case "CapAmb":
			s.Amb = hex()
		case "NoNewPrivs":
			s.NoNewPrivs = value == "1"
		case "Seccomp":
			s.Seccomp = num()
		case "Seccomp_filters":
			s.Filters = num()
		}
	}
	return s
}

func numbers(s string) []int {
	out := []int{}
	for _, f := range strings.Fields(s) {
		if n, err := strconv.Atoi(f); err == nil {
			out = append(out, n)
		}
	}
	return out
}

// CapabilityNames names the bits of a set; a number without a name is "CAP_N".
func CapabilityNames(bits uint64) []string {
	out := []string{}
	for n := range 64 {
		if bits&(1<<n) == 0 {
			continue
		}
		name := spec.KnownCapability(n)
		if name == "" {
			name = fmt.Sprintf("CAP_%d", n)
		}
		out = append(out, name)
	}
	return out
}

// CgroupLine is a line of /proc/PID/cgroup; Controllers is empty for version 2.
type CgroupLine struct{ Controllers, Path string }

// ParseCgroup reads /proc/PID/cgroup.
func ParseCgroup(text string) []CgroupLine {
	var out []CgroupLine
	for line := range strings.Lines(text) {
		parts := strings.SplitN(strings.TrimRight(line, "\n"), ":", 3)
		if len(parts) == 3 && strings.HasPrefix(parts[2], "/") {
			out = append(out, CgroupLine{parts[1], parts[2]})
		}
	}
	return out
}

// ParseLimits reads /proc/PID/limits, whose columns are at least two spaces apart.
func ParseLimits(text string) []Rlimit {
	var out []Rlimit
	for line := range strings.Lines(text) {
		name, rest, ok := strings.Cut(strings.TrimSpace(line), "  ")
		f := strings.Fields(rest)
		if !ok || len(f) < 2 || !strings.HasPrefix(name, "Max ") {
			continue
		}
		l := Rlimit{Name: strings.TrimPrefix(name, "Max "), Soft: f[0], Hard: f[1]}
		if len(f) > 2 {
			l.Unit = f[2]
		}
		out = append(out, l)
	}
	return out
}

// ParseIDMap reads uid_map or gid_map.
func ParseIDMap(text string) []IDMap {
	out := []IDMap{}
	for line := range strings.Lines(text) {
		var n [3]uint32
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		good := true
		for i := range f {
			v, err := strconv.ParseUint(f[i], 10, 32)
			n[i], good = uint32(v), good && err == nil
		}
		if good {
			out = append(out, IDMap{n[0], n[1], n[2]})
		}
	}
	return out
}

// hostPath finds where a mounted part of a file system is seen in another mount table: the longest match wins, and a mount on top hides.
func hostPath(table []MountLine, device, root string) string {
	best, found := "", -1
	for _, m := range table {
		rest, ok := below(m.Root, root)
		if m.Device != device || !ok || len(m.Root) < found {
			continue
		}
		path := m.Target
		if rest != "" {
			path = strings.TrimSuffix(m.Target, "/") + rest
		}
		if len(m.Root) > found || len(path) < len(best) {
			best, found = path, len(m.Root)
		}
	}
	return best
}

func below(dir, path string) (rest string, ok bool) {
	if dir == "/" {
		if path == "/" {
			return "", true
		}
		return path, true
	}
	rest, ok = strings.CutPrefix(path, dir)
	return rest, ok && (rest == "" || rest[0] == '/')
}
