package anatomy

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// Style says how a page looks.
type Style struct {
	Color bool // escape sequences of a terminal
}

// page writes sections; tabs make columns.
type page struct {
	a     *Anatomy
	style Style
	out   strings.Builder
}

const (
	bold  = "\x1b[1;36m"
	dim   = "\x1b[2m"
	green = "\x1b[32m"
	plain = "\x1b[0m"
)

// Render writes the anatomy as one page of text to read from top to bottom.
func Render(w io.Writer, a *Anatomy, style Style) error {
	p := &page{a: a, style: style}
	p.head()
	p.namespaces()
	p.cgroups()
	p.image()
	p.root()
	p.mounts()
	p.network()
	p.packets()
	p.security()
	p.rlimits()
	p.processes()
	p.missing()
	_, err := io.WriteString(w, p.out.String())
	return err
}

func (p *page) paint(color, text string) string {
	if !p.style.Color {
		return text
	}
	return color + text + plain
}

// section writes a title, a sentence, a body of tab-separated rows, and the commands.
func (p *page) section(title, sentence, key string, rows []string) {
	fmt.Fprintf(&p.out, "\n%s\n", p.paint(bold, title))
	fmt.Fprintf(&p.out, "%s\n", p.paint(dim, "  "+sentence))
	if len(rows) > 0 {
		p.out.WriteString("\n")
	}
	w := tabwriter.NewWriter(&p.out, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintf(w, "  %s\n", r)
	}
	w.Flush()
	if by := p.a.ByHand[key]; len(by) > 0 {
		fmt.Fprintf(&p.out, "\n  %s\n", p.paint(dim, "by hand:"))
		for _, line := range by {
			prompt := "$ "
			if strings.HasPrefix(line, "#") {
				prompt = ""
			}
			fmt.Fprintf(&p.out, "    %s\n", p.paint(green, prompt+line))
		}
	}
}

func (p *page) head() {
	c := p.a.Container
	fmt.Fprintf(&p.out, "%s\n", p.paint(bold, "Container "+cmpOr(c.Name, short(c.ID))))
	w := tabwriter.NewWriter(&p.out, 0, 0, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "  %s\t%s\n", name, value)
		}
	}
	row("id", c.ID)
	if c.Pid > 0 {
		row("state", fmt.Sprintf("%s, process %d on the host", c.State, c.Pid))
	} else {
		row("state", c.State+": what only a process has is not shown")
	}
	row("created", stamp(c.Created))
	row("started", stamp(c.Started))
	row("image", p.a.Image.Reference)
	row("command", words(c.Command))
	row("sandbox", c.Sandbox)
	row("shared with", strings.Join(c.Siblings, ", "))
	row("bundle", c.Bundle)
	w.Flush()
	fmt.Fprintf(&p.out, "\n%s\n", p.paint(dim, "  Linux has no containers. It has processes that are given views of their own (namespaces), shares of the\n"+
		"  machine (cgroups), a root of stacked folders (layers) and a cable to the outside (a veth pair)."))
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func short(digest string) string {
	digest = digest[strings.Index(digest, ":")+1:]
	return digest[:min(12, len(digest))]
}

var sees = map[string]string{"mnt": "mounts: what / is", "uts": "host and domain name", "ipc": "message queues, shared memory",
	"net": "interfaces, addresses, routes, ports", "pid": "process numbers", "user": "user numbers", "cgroup": "the root of cgroup paths",
	"time": "monotonic and boot clocks"}

func (p *page) namespaces() {
	var rows []string
	for _, n := range p.a.Namespaces {
		who := "its own"
		if len(n.Shared) > 0 {
			who = "shared with " + strings.Join(n.Shared, ", ")
			if n.With(Host) {
				who = "the host's"
			}
		}
		rows = append(rows, fmt.Sprintf("%s\t%d\t%s\t%s", n.Kind, n.Inode, sees[n.Kind], who))
		if n.Pin != "" {
			rows = append(rows, "\t\t\tpinned at "+n.Pin)
		}
	}
	if len(rows) == 0 {
		return
	}
	p.section("Namespaces", "What the processes can see. The numbers are inodes: two processes with the same number share the view.", "namespaces", rows)
}

func (p *page) cgroups() {
	if len(p.a.Cgroups.Groups) == 0 {
		return
	}
	rows := []string{}
	path := ""
	for _, g := range p.a.Cgroups.Groups {
		name := strings.Join(g.Controllers, ",")
		if g.Unified {
			name = "version 2"
		}
		if g.Path != path {
			path = g.Path
			rows = append(rows, "path "+path)
		}
		if len(g.Files) == 0 {
			rows = append(rows, fmt.Sprintf("%s\t\t\tgroups processes, limits nothing", name))
		}
		for _, f := range g.Files {
			kind := "use"
			if f.Limit {
				kind = "limit"
			}
			value := f.Value
			if strings.Count(value, "; ") > 3 {
				value = fmt.Sprintf("(%d lines)", strings.Count(value, "; ")+1)
			}
			rows = append(rows, fmt.Sprintf("%s\t%s\t%s %s\t%s", name, kind, f.Name, value, f.Means))
			name = ""
		}
	}
	p.section("Cgroups ("+p.a.Cgroups.Mode+")", "How much of the machine the processes may use, and use now. Each file below is a real one: read it, or write to it.",
		"cgroups", rows)
}

func (p *page) image() {
	i := p.a.Image
	rows := []string{"configuration " + i.ID}
	if i.Manifest != "" {
		rows = append(rows, "manifest      "+i.Manifest)
	}
	rows = append(rows, "layer\tblob\tcompressed\tunpacked\tinodes\textracted at")
	for n, l := range i.Layers {
		compressed := "-"
		if l.Compressed > 0 {
			compressed = size(l.Compressed)
		}
		rows = append(rows, fmt.Sprintf("%d %s\t%s\t%s\t%s\t%d\t%s", n, short(l.DiffID), cmpOr(short(l.Digest), "-"), compressed, size(l.Size), l.Inodes, l.Dir))
	}
	rows = append(rows, fmt.Sprintf("total\t\t%s\t%s\t\t", size(i.Compressed), size(i.Size)))
	p.section("Image", "Read-only layers, the lowest first; every container of the image uses the same folders. A layer is named by the digest\n"+
		"  of its tar archive (left) and of the compressed blob that a registry serves (right).", "image", rows)
}

func (p *page) root() {
	r := p.a.Root
	if r.Upper == "" && len(r.Lower) == 0 {
		return
	}
	rows := []string{}
	if r.Target != "" {
		rows = append(rows, "mounted at\t"+r.Target)
	}
	name := "lower, top first"
	for i, l := range r.Lower {
		if len(r.Places) > 0 && i == len(r.Lower)-1 {
			l += "   # no layer: places for mounts to cover"
		}
		rows, name = append(rows, name+"\t"+l), ""
	}
	rows = append(rows, "upper\t"+r.Upper, "work\t"+r.Work, fmt.Sprintf("written\t%s in %d files and folders", size(r.Bytes), r.Inodes))
	if len(r.Options) > 0 {
		rows = append(rows, "options\t"+strings.Join(r.Options, ","))
	}
	p.section("Root file system", "overlayfs shows the layers as one tree. What the container writes goes to the upper folder; a file of a lower one is\n"+
		"  copied up first.", "root", rows)
}

func (p *page) mounts() {
	var rows []string
	for _, m := range p.a.Mounts {
		from := m.Source
		switch {
		case m.Host != "":
			from = "from " + m.Host
		case m.Root != "/":
			from += " " + m.Root
		}
		rows = append(rows, fmt.Sprintf("%s\t%s\t%s\t%s", m.Target, m.Type, m.Options, from))
	}
	if len(rows) > 0 {
		p.section("Mounts", "The container's mount table: volumes are bind mounts, and what must not be seen has something else on top.", "mounts", rows)
	}
}

func (l Link) row(side string) string {
	text := fmt.Sprintf("%s\t%s\tindex %d\t%s\tmtu %d\t%s\t%s", side, l.Name, l.Index, l.MAC, l.MTU, l.State, strings.Join(l.Addrs, " "))
	return text
}

func (p *page) network() {
	n := p.a.Network
	if n.Host {
		p.section("Network", "The container is in the host's network namespace: it has no cable, it uses the host's interfaces.", "network", nil)
		return
	}
	if len(n.Links) == 0 {
		return
	}
	var rows []string
	paired := map[int]bool{}
	for _, v := range n.Veths {
		paired[v.Inside.Index] = true
		rows = append(rows, v.Inside.row("inside"), v.Host.row("host end"))
		if v.Bridge != nil {
			rows = append(rows, v.Bridge.row("bridge"))
		}
		rows = append(rows, fmt.Sprintf("pair\t%s@if%d ⇄ %s@if%d", v.Inside.Name, v.Inside.Peer, v.Host.Name, v.Host.Peer))
	}
	for _, l := range n.Links {
		if !paired[l.Index] {
			rows = append(rows, l.row("inside"))
		}
	}
	for _, r := range n.Routes {
		rows = append(rows, "route inside\t"+r.String())
	}
	for _, nb := range n.Neighbours {
		rows = append(rows, "neighbour\t"+nb)
	}
	for _, r := range n.HostRoutes {
		rows = append(rows, "host's route\t"+r.String())
	}
	p.section("Network", "A veth pair is a cable: what goes in at one end comes out at the other. One end is in the container's namespace, the\n"+
		"  other is a port of the host's bridge; each end names the other by its index.", "network", rows)
}

func (p *page) packets() {
	if len(p.a.Packets) == 0 {
		return
	}
	var rows []string
	for _, t := range p.a.Packets {
		rows = append(rows, fmt.Sprintf("table %s %s", t.Family, t.Name))
		for _, e := range t.Elements {
			rows = append(rows, fmt.Sprintf("element\t%s\t{ %s }", e.Set, e.Text))
		}
		for _, r := range t.Rules {
			chain := r.Chain
			if r.Hook != "" {
				chain += " (" + r.Hook + ")"
			}
			rows = append(rows, fmt.Sprintf("rule\t%s\t%s", chain, r.Text))
		}
	}
	p.section("Packet rules", "The elements of nftables' sets and maps that hold the container's addresses, the rules that look them up, and the rules\n"+
		"  that lead there.", "packets", rows)
}

func (p *page) security() {
	s := p.a.Security
	if len(s.UID) == 0 {
		return
	}
	rows := []string{fmt.Sprintf("user\tuid %d, gid %d, groups %v", s.UID[0], first(s.GID), s.Groups)}
	for _, m := range []struct {
		name string
		maps []IDMap
	}{{"uid map", s.UIDMap}, {"gid map", s.GIDMap}} {
		for _, l := range m.maps {
			text := fmt.Sprintf("%d-%d inside are %d-%d outside", l.Inside, uint64(l.Inside)+uint64(l.Count)-1, l.Outside, uint64(l.Outside)+uint64(l.Count)-1)
			if l.Inside == l.Outside && l.Count == 4294967295 {
				text = "every number is the host's: root inside is root outside, kept in by what follows"
			}
			rows = append(rows, m.name+"\t"+text)
		}
	}
	c := s.Capabilities
	for _, set := range []struct {
		name  string
		names []string
	}{{"bounding", c.Bounding}, {"permitted", c.Permitted}, {"effective", c.Effective}, {"inheritable", c.Inheritable}, {"ambient", c.Ambient}} {
		rows = append(rows, fmt.Sprintf("%s\t%d: %s", set.name, len(set.names), capabilityText(set.names)))
	}
	rows = append(rows, fmt.Sprintf("no_new_privs\t%t", s.NoNewPrivs))
	seccomp := s.Seccomp
	if s.Filters > 0 {
		seccomp = fmt.Sprintf("%s, %d in force", s.Seccomp, s.Filters)
	}
	if s.DefaultAction != "" {
		seccomp += fmt.Sprintf("; the profile names %d system calls, all others get %s", s.Syscalls, s.DefaultAction)
	}
	rows = append(rows, "seccomp\t"+seccomp, "label\t"+cmpOr(s.Label, "none: no AppArmor or SELinux profile is in force"))
	if s.Modules != "" {
		rows = append(rows, "modules\t"+s.Modules)
	}
	rows = append(rows, "oom_score_adj\t"+s.OOMScoreAdj)
	if len(s.MaskedPaths) > 0 {
		rows = append(rows, "masked\t"+strings.Join(s.MaskedPaths, " "), "read-only\t"+strings.Join(s.ReadonlyPaths, " "))
	}
	p.section("Security", "What root is made of, and how much of it is left: capabilities are its parts, seccomp filters system calls.", "security", rows)
}

func capabilityText(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.ToLower(strings.ReplaceAll(strings.Join(names, " "), "CAP_", ""))
}

func (p *page) rlimits() {
	var rows []string
	for _, l := range p.a.Rlimits {
		if l.Soft == "unlimited" && l.Hard == "unlimited" {
			continue
		}
		rows = append(rows, fmt.Sprintf("%s\tsoft %s\thard %s\t%s", l.Name, l.Soft, l.Hard, l.Unit))
	}
	if len(rows) > 0 {
		p.section("Resource limits", "Of each process alone, older than cgroups; what is not here is unlimited.", "rlimits", rows)
	}
}

func (p *page) processes() {
	if len(p.a.Processes) == 0 {
		return
	}
	rows := []string{"host\tinside\tuid\tthreads\tmemory\tstate\tcommand"}
	for _, pr := range p.a.Processes {
		rows = append(rows, fmt.Sprintf("%d\t%d\t%d\t%d\t%s\t%s\t%s%s", pr.Pid, pr.Inside, pr.UID, pr.Threads, size(pr.RSS), pr.State,
			strings.Repeat("  ", pr.Depth), printable(pr.Command)))
	}
	p.section("Processes", "The same processes with two numbers: the host's, and their own namespace's, where the first is 1.", "processes", rows)
}

// printable keeps what a process calls itself from moving a terminal's cursor.
func printable(s string) string {
	const most = 120
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}

func (p *page) missing() {
	if len(p.a.Missing) == 0 {
		return
	}
	fmt.Fprintf(&p.out, "\n%s\n", p.paint(bold, "Not shown"))
	for _, m := range p.a.Missing {
		fmt.Fprintf(&p.out, "  %s\n", m)
	}
}
