package anatomy

import (
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Recipes writes, for each section, the shell commands that would make it by hand as root, with this container's values. They are for reading
// and trying out elsewhere: none is ever run here. Lines that begin with "#" say what no command does.
func Recipes(a *Anatomy) map[string][]string {
	return map[string][]string{
		"namespaces": namespaceRecipe(a),
		"cgroups":    cgroupRecipe(a),
		"image":      imageRecipe(a),
		"root":       rootRecipe(a),
		"mounts":     mountRecipe(a),
		"network":    networkRecipe(a),
		"packets":    packetRecipe(a),
		"security":   securityRecipe(a),
		"rlimits":    rlimitRecipe(a),
		"processes":  processRecipe(a),
	}
}

// quote makes a word safe for a shell.
func quote(s string) string {
	if s != "" && strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=+,@%", r))
	}) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func words(list []string) string {
	var out []string
	for _, s := range list {
		out = append(out, quote(s))
	}
	return strings.Join(out, " ")
}

// options are the names that unshare(1) and nsenter(1) have for the kinds.
var options = map[string]string{"mnt": "mount", "uts": "uts", "ipc": "ipc", "net": "net", "pid": "pid", "user": "user", "cgroup": "cgroup", "time": "time"}

func namespaceRecipe(a *Anatomy) []string {
	var pinned, joined, own, pins []string
	for _, n := range a.Namespaces {
		option := "--" + options[n.Kind]
		switch {
		case n.With(Host):
		case n.Pin != "":
			pins = append(pins, quote(n.Pin))
			pinned, joined = append(pinned, option+"="+quote(n.Pin)), append(joined, option+"="+quote(n.Pin))
		case len(n.Shared) > 0 && n.Kind != "mnt":
			joined = append(joined, fmt.Sprintf("%s=/proc/%s/ns/%s", option, pidOf(a), n.Kind))
		default:
			own = append(own, option)
			if n.Kind == "pid" {
				own = append(own, "--fork")
			}
		}
	}
	var out []string
	if len(pins) > 0 {
		first := "true"
		for _, n := range a.Namespaces {
			switch {
			case n.Pin != "" && n.Kind == "uts" && a.Container.Hostname != "":
				first = "hostname " + quote(a.Container.Hostname)
			case n.Pin != "" && n.Kind == "pid": // its first process has to be a child, and to stay
				pinned = append(pinned, "--fork")
			}
		}
		out = append(out, "touch "+strings.Join(pins, " ")+"   # the sandbox is made once, and kept by these pins", "unshare "+strings.Join(pinned, " ")+" "+first)
	}
	command := "sh"
	if len(own) > 0 {
		command = "unshare " + strings.Join(own, " ") + " " + command
	}
	if len(joined) > 0 {
		command = "nsenter " + strings.Join(joined, " ") + " " + command
	}
	out = append(out, command)
	for _, n := range a.Namespaces {
		if n.Pin != "" {
			return abbreviate(out, "ns", strings.TrimSuffix(n.Pin, "-"+n.Kind))
		}
	}
	return out
}

// abbreviate puts a shell variable where a long path would be said again and again.
func abbreviate(lines []string, name, path string) []string {
	const worth = 12 // bytes; a shorter path is read sooner than a name
	if len(path) < worth || quote(path) != path {
		return lines
	}
	out := []string{name + "=" + path}
	for _, line := range lines {
		parts := strings.Split(line, path)
		short := parts[0]
		for _, p := range parts[1:] {
			if strings.Count(short, "'")%2 == 1 { // a shell leaves what is quoted alone
				short += path + p
				continue
			}
			if p != "" && (p[0] == '_' || p[0] >= 'a' && p[0] <= 'z' || p[0] >= 'A' && p[0] <= 'Z' || p[0] >= '0' && p[0] <= '9') {
				short += "${" + name + "}" + p
				continue
			}
			short += "$" + name + p
		}
		out = append(out, short)
	}
	return out
}

func cgroupRecipe(a *Anatomy) []string {
	var out []string
	longest := ""
	for _, g := range a.Cgroups.Groups {
		longest = g.Path
		settings := slices.DeleteFunc(slices.Clone(g.Files), func(f CgroupFile) bool { return !f.Limit || inherited(f) })
		if len(settings) == 0 {
			out = append(out, fmt.Sprintf("mkdir -p %s && echo %s > %s", quote(g.Dir), pidOf(a), quote(g.Dir+"/cgroup.procs")))
			continue
		}
		out = append(out, "mkdir -p "+quote(g.Dir)+" && cd "+quote(g.Dir))
		switch {
		case g.Unified:
			out = append(out, delegation(g, settings)...)
		case slices.Contains(g.Controllers, "cpuset"):
			out = append(out, fmt.Sprintf("(cd %s && for d in %s; do for f in cpuset.cpus cpuset.mems; do [ -n \"$(cat $d/$f)\" ] || cat $f > $d/$f; done; cd $d; done)",
				quote(strings.TrimSuffix(g.Dir, g.Path)), words(steps(g))))
		}
		for _, f := range settings {
			if f.Name == "devices.list" {
				out = append(out, "echo a > devices.deny")
				for _, rule := range strings.Split(f.Value, "; ") {
					out = append(out, "echo "+quote(rule)+" > devices.allow")
				}
				continue
			}
			out = append(out, "echo "+quote(f.Value)+" > "+f.Name)
		}
		out = append(out, fmt.Sprintf("echo %s > cgroup.procs", pidOf(a)))
	}
	if len(out) == 0 {
		return nil
	}
	return abbreviate(out, "cg", longest)
}

// steps are the folders on the way from the hierarchy's root to the group.
func steps(g Cgroup) []string { return strings.Split(strings.Trim(g.Path, "/"), "/") }

// delegation passes on the controllers of the settings from the root of a version 2 hierarchy down to the group.
func delegation(g Cgroup, settings []CgroupFile) []string {
	var names []string
	for _, f := range settings {
		if name, _, _ := strings.Cut(path.Base(f.Name), "."); name != "cgroup" && !slices.Contains(names, "+"+name) {
			names = append(names, "+"+name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("(cd %s && for d in %s; do echo %s > cgroup.subtree_control; cd $d; done)",
		quote(strings.TrimSuffix(g.Dir, g.Path)), words(steps(g)), quote(strings.Join(names, " ")))}
}

// inherited tells of a setting that is as the kernel makes it, or that no one sets by hand.
func inherited(f CgroupFile) bool {
	switch f.Name {
	case "freezer.state", "cgroup.freeze":
		return true
	case "blkio.weight", "blkio.bfq.weight", "io.weight":
		return strings.HasSuffix(f.Value, "100") || f.Value == "500"
	case "cpuset.cpus", "cpuset.mems":
		return f.Value == ""
	case "devices.list":
		return strings.HasPrefix(f.Value, "a ")
	}
	return f.Means == "no limit" || f.Value == "max" || f.Value == "" || f.Value == "0" && strings.HasPrefix(f.Name, "memory.")
}

func pidOf(a *Anatomy) string {
	if a.Container.Pid == 0 {
		return "$$"
	}
	return fmt.Sprint(a.Container.Pid)
}

func imageRecipe(a *Anatomy) []string {
	var out []string
	for _, l := range a.Image.Layers {
		if l.Dir == "" || l.Inodes == 0 {
			continue
		}
		from := l.Blob
		if from == "" {
			from = short(cmpOr(l.Digest, l.DiffID)) + ".tar"
			out = append(out, "# the archive "+from+" is not kept here: `docker save` packs it again")
		}
		out = append(out, "mkdir -p "+quote(l.Dir)+" && tar -C "+quote(l.Dir)+" -x"+compression(l.MediaType)+"f "+quote(from))
	}
	for _, l := range a.Image.Layers {
		if l.Dir != "" && len(out) > 0 {
			return abbreviate(out, "data", path.Dir(path.Dir(path.Dir(l.Dir))))
		}
	}
	return out
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func compression(mediaType string) string {
	switch {
	case strings.HasSuffix(mediaType, "gzip"):
		return "z"
	case strings.HasSuffix(mediaType, "zstd"):
		return " --zstd -"
	}
	return ""
}

func rootRecipe(a *Anatomy) []string {
	r := a.Root
	if len(r.Lower) == 0 {
		return nil
	}
	target := cmpOr(r.Target, a.Container.Bundle+"/rootfs")
	escape := strings.NewReplacer(`\`, `\\`, ":", `\:`, ",", `\,`)
	var lower []string
	for _, l := range r.Lower {
		lower = append(lower, escape.Replace(l))
	}
	option := "lowerdir=" + strings.Join(lower, ":")
	if r.Upper != "" {
		option += ",upperdir=" + escape.Replace(r.Upper) + ",workdir=" + escape.Replace(r.Work)
	}
	var dirs []string
	for _, d := range []string{r.Upper, r.Work, target} {
		if d != "" {
			dirs = append(dirs, quote(d))
		}
	}
	return abbreviate(append(placeRecipe(r), "mkdir -p "+strings.Join(dirs, " "), "mount -t overlay overlay -o "+quote(option)+" "+quote(target)),
		"layers", path.Dir(path.Dir(cmpOr(r.Upper, r.Lower[0]))))
}

// placeRecipe makes the places beneath the layers.
func placeRecipe(r Root) []string {
	if len(r.Places) == 0 {
		return nil
	}
	var folders, files []string
	for _, p := range r.Places {
		at := quote(path.Join(r.Lower[len(r.Lower)-1], p.Path))
		if p.File {
			files = append(files, at)
		} else {
			folders = append(folders, at)
		}
	}
	line := "mkdir -p " + strings.Join(folders, " ")
	if len(files) > 0 {
		line += " && touch " + strings.Join(files, " ")
	}
	return []string{line + "   # what mounts cover, if the image does not have it"}
}

// mountRecipe makes the mount table, each mount after the one it lies on and on a file or folder that is made for it. A read-only tmpfs that others
// lie on is writable until they do.
func mountRecipe(a *Anatomy) []string {
	root := a.Root.Target
	at := func(m Mount) string { return quote(strings.TrimSuffix(root, "/") + m.Target) }
	var out, later []string
	for _, m := range a.Mounts {
		if m.Target == "/" {
			continue
		}
		out = append(out, point(a, m, strings.TrimSuffix(root, "/")+m.Target)...)
		var command, remark string
		switch {
		case m.Type == "cgroup" || m.Type == "cgroup2":
			command = "mount --bind " + quote("/sys/fs/cgroup/"+path.Base(m.Target)+m.Root) + " " + at(m)
		case m.Type == "devtmpfs":
			command, remark = "mount --bind "+quote("/dev"+m.Root)+" "+at(m), "   # masked"
		case m.Type == "proc" && m.Root != "/":
			command = "mount --bind " + at(m) + " " + at(m)
		case m.Host != "":
			command = "mount --bind " + quote(m.Host) + " " + at(m)
		default:
			options := mountOptions(m)
			if m.Type == "tmpfs" && strings.HasPrefix(m.Options, "ro") && slices.ContainsFunc(a.Mounts, func(o Mount) bool { return o.Parent == m.ID }) {
				options = strings.Replace(options, "ro", "rw", 1)
				later = append(later, "mount -o remount,bind,"+strings.TrimSuffix(strings.TrimSuffix(m.Options, ",relatime"), ",rw")+" "+at(m))
			}
			out = append(out, "mount -t "+m.Type+" -o "+quote(options)+" "+quote(m.Source)+" "+at(m))
			if m.Target == "/dev" {
				out = append(out, deviceRecipe(a.Root.Devices, at(m))...)
			}
			continue
		}
		if strings.HasPrefix(m.Options, "ro") {
			command += " && mount -o remount,bind," + strings.TrimSuffix(m.Options, ",relatime") + " " + at(m)
		}
		out = append(out, command+remark)
	}
	if len(out) == 0 {
		return nil
	}
	out = append(out, later...)
	last := "cd " + quote(root) + " && mkdir -p .old && pivot_root . .old && umount -l .old && rmdir .old"
	if slices.ContainsFunc(a.Mounts, func(m Mount) bool { return m.Target == "/" && strings.HasPrefix(m.Options, "ro") }) {
		last += " && mount -o remount,bind,ro /"
	}
	out = append(out, last+"   # the host's tree is gone: umount and what follows are the image's own programs")
	return abbreviate(out, "root", root)
}

// point makes what a mount lies on. What is on proc and sysfs is there.
func point(a *Anatomy, m Mount, at string) []string {
	for _, below := range a.Mounts {
		if below.ID == m.Parent && (below.Type == "proc" || below.Type == "sysfs") {
			return nil
		}
	}
	if m.File {
		return []string{"mkdir -p " + quote(path.Dir(at)) + " && touch " + quote(at)}
	}
	return []string{"mkdir -p " + quote(at)}
}

// deviceRecipe fills a /dev.
func deviceRecipe(list []Device, dev string) []string {
	var out []string
	for _, d := range list {
		if d.Kind == "" {
			out = append(out, "ln -sf "+quote(d.Link)+" "+dev+"/"+quote(d.Name))
			continue
		}
		out = append(out, fmt.Sprintf("mknod -m %s %s/%s %s %d %d", d.Mode, dev, quote(d.Name), d.Kind, d.Major, d.Minor))
	}
	return out
}

// mountOptions are the mount's and the file system's own together, read-only once.
func mountOptions(m Mount) string {
	var out []string
	for _, o := range append(strings.Split(m.Options, ","), strings.Split(m.Super, ",")...) {
		if o == "rw" && slices.Contains(out, "ro") || o == "relatime" || o == "" || slices.Contains(out, o) {
			continue
		}
		out = append(out, o)
	}
	if !strings.Contains(m.Options, "atime") {
		out = append(out, "strictatime")
	}
	return strings.Join(out, ",")
}

func networkRecipe(a *Anatomy) []string {
	n := a.Network
	if n.Host {
		return []string{"# none: the container is in the host's network namespace"}
	}
	inside := "nsenter --net=" + quote(n.Netns) + " "
	var out []string
	made := map[string]bool{}
	for _, v := range n.Veths {
		if b := v.Bridge; b != nil && !made[b.Name] {
			made[b.Name] = true
			out = append(out, fmt.Sprintf("ip link add %s address %s mtu %d type bridge && ip link set %s up", b.Name, b.MAC, b.MTU, b.Name))
			for _, addr := range b.Addrs {
				out = append(out, "ip addr add "+addr+flags(*b, addr)+" dev "+b.Name)
			}
		}
		out = append(out, fmt.Sprintf("ip link add %s mtu %d type veth peer name %s address %s mtu %d netns %s",
			v.Host.Name, v.Host.MTU, v.Inside.Name, v.Inside.MAC, v.Inside.MTU, quote(n.Netns)))
		if v.Bridge != nil {
			out = append(out, fmt.Sprintf("ip link set %s master %s up", v.Host.Name, v.Bridge.Name))
		}
		for _, addr := range v.Inside.Addrs {
			if p, err := netip.ParsePrefix(addr); err == nil && !p.Addr().IsLinkLocalUnicast() {
				out = append(out, inside+"ip addr add "+addr+flags(v.Inside, addr)+" dev "+v.Inside.Name)
			}
		}
		out = append(out, inside+"ip link set "+v.Inside.Name+" up")
	}
	if len(n.Links) > 0 {
		out = append(out, inside+"ip link set lo up")
	}
	for _, nb := range n.Neighbours {
		out = append(out, inside+"ip neigh add "+nb+" nud permanent")
	}
	// What is on the link first: a gateway must be reachable before it is named.
	for _, gateway := range []bool{false, true} {
		for _, r := range n.Routes {
			if (r.Via != "") == gateway && !r.Auto {
				out = append(out, inside+"ip route add "+r.String())
			}
		}
	}
	for _, r := range n.HostRoutes {
		if !r.Auto {
			out = append(out, "ip route add "+r.String())
		}
	}
	if len(n.Veths) == 0 {
		return out
	}
	return abbreviate(append(out, "echo 1 > /proc/sys/net/ipv4/ip_forward"), "ns", n.Netns)
}

// flags are what an address is added with: the broadcast address of its network, no search for others that have it.
func flags(l Link, addr string) string {
	p, err := netip.ParsePrefix(addr)
	switch {
	case err != nil:
	case l.Broadcast && p.Addr().Is4() && p.Bits() < 31:
		return " brd +"
	case l.NoDAD && p.Addr().Is6():
		return " nodad"
	}
	return ""
}

// String writes a route as ip(8) takes it.
func (r Route) String() string {
	text := r.To
	for _, p := range [][2]string{{"via", r.Via}, {"dev", r.Dev}, {"src", r.Src}, {"scope", r.Scope}} {
		if p[1] != "" {
			text += " " + p[0] + " " + p[1]
		}
	}
	if r.Proto != 0 {
		text += fmt.Sprintf(" proto %d", r.Proto)
	}
	if r.Onlink {
		text += " onlink"
	}
	return text
}

// wordless says what nft(8) has no words for in a rule; "" = it can be typed.
func wordless(rule string) string {
	switch {
	case strings.HasPrefix(rule, "0x"), strings.Contains(rule, " to 0x"):
		return "a constant in a map's key"
	case portAlone.MatchString(rule) && !strings.Contains(rule, "l4proto"):
		return "a port without a protocol"
	}
	return ""
}

var portAlone = regexp.MustCompile(`[sd]nat ip6? to \S+:\d+$`)

// packetRecipe declares what the elements and rules need, then adds them.
func packetRecipe(a *Anatomy) []string {
	var out []string
	for _, t := range a.Packets {
		table := t.Family + " " + quote(t.Name)
		out = append(out, "nft add table "+table)
		for _, s := range t.Sets {
			kind := "set"
			if s.Map {
				kind = "map"
			}
			if s.Text == "" {
				out = append(out, fmt.Sprintf("# %s %s of table %s is empty: its type is not known", kind, s.Name, t.Name))
				continue
			}
			out = append(out, fmt.Sprintf("nft add %s %s %s '{ %s }'", kind, table, quote(s.Name), s.Text))
		}
		for _, c := range t.Chains {
			line := fmt.Sprintf("nft add chain %s %s", table, quote(c.Name))
			if hook := strings.Fields(c.Hook); len(hook) == 3 {
				line += fmt.Sprintf(" '{ type %s hook %s priority %s; }'", hook[0], hook[1], hook[2])
			}
			out = append(out, line)
		}
		for _, e := range t.Elements {
			out = append(out, fmt.Sprintf("nft add element %s %s '{ %s }'", table, quote(e.Set), e.Text))
		}
		for _, r := range t.Rules {
			if what := wordless(r.Text); what != "" {
				out = append(out, fmt.Sprintf("# chain %s of table %s: %s   # %s: nft has no words for it", r.Chain, t.Name, r.Text, what))
				continue
			}
			out = append(out, fmt.Sprintf("nft add rule %s %s '%s'", table, quote(r.Chain), r.Text))
		}
	}
	if len(out) > 0 {
		return append(out, "nft list ruleset   # shows all of it")
	}
	return nil
}

func securityRecipe(a *Anatomy) []string {
	s := a.Security
	if len(s.UID) == 0 {
		return nil
	}
	set := func(names []string) string {
		out := "-all"
		for _, n := range names {
			out += ",+" + strings.ToLower(strings.TrimPrefix(n, "CAP_"))
		}
		return out
	}
	setpriv := fmt.Sprintf("setpriv --reuid=%d --regid=%d", s.UID[0], first(s.GID))
	if len(s.Groups) == 0 {
		setpriv += " --clear-groups"
	} else {
		setpriv += " --groups=" + strings.Trim(strings.ReplaceAll(fmt.Sprint(s.Groups), " ", ","), "[]")
	}
	setpriv += " --bounding-set=" + set(s.Capabilities.Bounding) + " --inh-caps=" + set(s.Capabilities.Inheritable) +
		" --ambient-caps=" + set(s.Capabilities.Ambient)
	if s.NoNewPrivs {
		setpriv += " --no-new-privs"
	}
	var out []string
	if s.Seccomp == "filter" {
		out = append(out, "# seccomp: setpriv --seccomp-filter FILE loads a compiled filter (util-linux 2.40)")
	}
	if s.OOMScoreAdj != "" && s.OOMScoreAdj != "0" {
		out = append(out, fmt.Sprintf("echo %s > /proc/%s/oom_score_adj", s.OOMScoreAdj, pidOf(a)))
	}
	for _, m := range []struct {
		file string
		maps []IDMap
	}{{"uid_map", s.UIDMap}, {"gid_map", s.GIDMap}} {
		for _, l := range m.maps {
			if l.Count != 4294967295 { // the host's own namespace
				out = append(out, fmt.Sprintf("echo '%d %d %d' > /proc/%s/%s", l.Inside, l.Outside, l.Count, pidOf(a), m.file))
			}
		}
	}
	return append(out, setpriv+" "+words(a.Container.Command)+"   # the host's program, so it is typed before pivot_root")
}

func first(n []int) int {
	if len(n) == 0 {
		return 0
	}
	return n[0]
}

// limitOptions are prlimit(1)'s names.
var limitOptions = map[string]string{"cpu time": "cpu", "file size": "fsize", "data size": "data", "stack size": "stack", "core file size": "core",
	"resident set": "rss", "processes": "nproc", "open files": "nofile", "locked memory": "memlock", "address space": "as", "file locks": "locks",
	"pending signals": "sigpending", "msgqueue size": "msgqueue", "nice priority": "nice", "realtime priority": "rtprio", "realtime timeout": "rttime"}

func rlimitRecipe(a *Anatomy) []string {
	var out []string
	for _, l := range a.Rlimits {
		if option, ok := limitOptions[l.Name]; ok && (l.Soft != "unlimited" || l.Hard != "unlimited") {
			out = append(out, fmt.Sprintf("--%s=%s:%s", option, l.Soft, l.Hard))
		}
	}
	if len(out) == 0 {
		return nil
	}
	return []string{"prlimit --pid " + pidOf(a) + " " + strings.Join(out, " ")}
}

func processRecipe(a *Anatomy) []string {
	if a.Container.Pid == 0 {
		return nil
	}
	out := []string{}
	if len(a.Container.Command) > 0 {
		dir := cmpOr(a.Container.Dir, "/")
		out = append(out, "cd "+quote(dir)+" && exec "+words(a.Container.Command)+"   # the last step: the program takes the place of the shell, as process 1")
	}
	return append(out, fmt.Sprintf("nsenter --target %d --all sh   # step inside, as exec does", a.Container.Pid))
}
