package anatomy

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"nau/internal/engine"
	"nau/internal/engine/container"
	"nau/internal/engine/sandbox"
	"nau/internal/kernel"
	"nau/internal/oci/monitor"
)

// Config says which instance is looked at.
type Config struct {
	RunDir  string          // the instance's
	Records *engine.Records // its records
	NauPid  int             // its process, whose network namespace is the host's side; 0 = it does not run, this process's own is taken
}

type gatherer struct {
	Config
	record  *container.Record
	sandbox *sandbox.Record
	pid     int
	spec    *specs.Spec // of the bundle; nil when it is gone
	out     *Anatomy
}

// Gather takes the container with this full ID apart. Only a container that there is not is an error: what cannot be read is in Missing.
func Gather(ctx context.Context, c Config, id string) (*Anatomy, error) {
	record, ok := c.Records.Containers[id]
	if !ok {
		return nil, fmt.Errorf("take container %s apart: %w", id, container.ErrNotFound)
	}
	g := &gatherer{Config: c, record: record, sandbox: c.Records.Sandboxes[record.Config.Sandbox], out: &Anatomy{}}
	if g.sandbox == nil {
		g.sandbox = &sandbox.Record{}
		g.missing("sandbox", fmt.Errorf("no record of %s", record.Config.Sandbox))
	}
	g.readSpec()
	g.findProcess(ctx)
	g.container()
	g.image()
	if g.pid > 0 {
		g.namespaces()
		g.cgroups()
		g.mounts()
		g.network()
		g.security()
		g.processes()
	} else {
		g.restingRoot()
	}
	g.out.ByHand = Recipes(g.out)
	return g.out, nil
}

// missing notes what could not be read.
func (g *gatherer) missing(what string, err error) {
	if err != nil {
		g.out.Missing = append(g.out.Missing, fmt.Sprintf("%s: %v", what, err))
	}
}

func (g *gatherer) bundle() string { return filepath.Join(g.RunDir, "containers", g.record.ID) }

func (g *gatherer) readSpec() {
	b, err := os.ReadFile(filepath.Join(g.bundle(), "config.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	s := &specs.Spec{}
	if err == nil {
		err = json.Unmarshal(b, s)
	}
	if err != nil {
		g.missing("specification", err)
		return
	}
	g.spec = s
}

// findProcess asks the monitor, who is the process's parent and knows; where it does not answer, the record's process is taken if it still is
// in the container's cgroup.
func (g *gatherer) findProcess(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	state, err := monitor.Connect(filepath.Join(g.RunDir, "monitor.sock")).State(ctx, g.record.ID)
	switch {
	case err == nil:
		g.pid = state.Pid
		g.out.Container.State = string(state.Status)
		if state.Status == monitor.Stopped {
			g.pid = 0
		}
	case errors.Is(err, monitor.ErrNotFound):
	case g.record.State == container.Running || g.record.State == container.Paused:
		g.missing("monitor", err)
		g.pid = g.record.Pid
	}
	if g.pid > 0 && !g.mine(g.pid) {
		g.missing("process", fmt.Errorf("%d is not in the container's cgroup", g.pid))
		g.pid = 0
	}
}

func (g *gatherer) mine(pid int) bool {
	b, err := os.ReadFile(proc(pid, "cgroup"))
	return err == nil && slices.ContainsFunc(ParseCgroup(string(b)), func(l CgroupLine) bool { return strings.Contains(l.Path, g.record.ID) })
}

func proc(pid int, name string) string { return "/proc/" + strconv.Itoa(pid) + "/" + name }

// read reads a file of the container's first process.
func (g *gatherer) read(name string) string {
	b, err := os.ReadFile(proc(g.pid, name))
	g.missing(name, err)
	return string(b)
}

func (g *gatherer) container() {
	r, c := g.record, &g.out.Container
	c.ID, c.Name, c.Labels, c.Pid, c.Created, c.Started = r.ID, r.Config.Name, r.Config.Labels, g.pid, r.Created, r.Started
	c.State = cmp.Or(c.State, string(r.State))
	c.Sandbox, c.Bundle, c.Hostname = r.Config.Sandbox, g.bundle(), g.sandbox.Config.Hostname
	if r.Process != nil {
		c.Command, c.Dir = r.Process.Args, r.Process.Cwd
	}
	for _, s := range g.Records.In(r.Config.Sandbox) {
		if s.ID != r.ID {
			c.Siblings = append(c.Siblings, title(s))
		}
	}
}

func title(r *container.Record) string { return cmp.Or(r.Config.Name, r.ID[:12]) }

// kinds of namespaces in the order they are shown in.
var kinds = []kernel.Namespace{kernel.Mount, kernel.UTS, kernel.IPC, kernel.Net, kernel.PID, kernel.User, kernel.Cgroup, kernel.Time}

func (g *gatherer) namespaces() {
	others := map[string]int{}
	for id, r := range g.Records.Containers {
		if id != g.record.ID && r.Pid > 0 && (r.State == container.Running || r.State == container.Paused) {
			others[title(r)] = r.Pid
		}
	}
	for _, kind := range kinds {
		inode, err := kernel.NamespaceInode(strconv.Itoa(g.pid), kind)
		if err != nil {
			g.missing("namespace "+string(kind), err)
			continue
		}
		n := Namespace{Kind: string(kind), Inode: inode}
		if g.hosts(kind, inode) { // then with everybody
			n.Shared = []string{Host}
		}
		for name, pid := range others {
			if other, err := kernel.NamespaceInode(strconv.Itoa(pid), kind); err == nil && other == inode && !n.With(Host) {
				n.Shared = append(n.Shared, name)
			}
		}
		slices.Sort(n.Shared)
		pin := filepath.Join(g.RunDir, "ns", g.record.Config.Sandbox+"-"+string(kind))
		if _, ino, err := kernel.NamespaceID(pin); err == nil && ino == inode {
			n.Pin = pin
		}
		g.out.Namespaces = append(g.out.Namespaces, n)
	}
}

// initial are the inodes that the kernel gives to the namespaces it boots with (PROC_IPC_INIT_INO and others, linux/proc_ns.h).
var initial = map[kernel.Namespace]uint64{kernel.IPC: 0xEFFFFFFF, kernel.UTS: 0xEFFFFFFE, kernel.User: 0xEFFFFFFD, kernel.PID: 0xEFFFFFFC,
	kernel.Cgroup: 0xEFFFFFFB, kernel.Time: 0xEFFFFFFA}

// hosts tells whether a namespace is the host's: that of its init, or of Nau, for whom it is the host's even where the init is elsewhere.
func (g *gatherer) hosts(kind kernel.Namespace, inode uint64) bool {
	if initial[kind] == inode {
		return true
	}
	for _, pid := range []int{1, g.NauPid} {
		if other, err := kernel.NamespaceInode(strconv.Itoa(pid), kind); pid > 0 && err == nil && other == inode {
			return true
		}
	}
	return false
}

func (g *gatherer) cgroups() {
	layout, err := kernel.Cgroups()
	if err != nil {
		g.missing("cgroups", err)
		return
	}
	g.out.Cgroups = cgroups(layout, g.read("cgroup"))
}

func (g *gatherer) image() {
	i := &g.out.Image
	i.Reference, i.ID = cmp.Or(g.record.ImageRef, g.record.Config.Image), g.record.Image.String()
	layers, err := g.Records.Layers()
	g.missing("layers", err)
	for _, d := range g.record.Layers {
		l := Layer{DiffID: d.String()}
		if known, ok := layers[d]; ok {
			l.Size, l.Disk, l.Inodes, l.Dir = known.Size, known.Disk, known.Inodes, known.Dir
		}
		i.Size += l.Size
		i.Layers = append(i.Layers, l)
	}
	_, target, ok := strings.Cut(i.Reference, "@")
	if !ok {
		return // made here: it was never in a registry's manifest
	}
	manifest, at, err := g.Records.Manifest(digest.Digest(target), g.record.Image)
	if err != nil {
		g.missing("manifest", err)
		return
	}
	i.Manifest = at.String()
	for n, d := range manifest.Layers {
		if n >= len(i.Layers) {
			break
		}
		l := &i.Layers[n]
		l.Digest, l.MediaType, l.Compressed = d.Digest.String(), d.MediaType, d.Size
		i.Compressed += d.Size
		if path, err := g.Records.Blob(d.Digest); err == nil {
			if _, err := os.Stat(path); err == nil {
				l.Blob = path
			}
		}
	}
}

func (g *gatherer) mounts() {
	own := inOrder(ParseMountinfo(g.read("mountinfo")))
	b, err := os.ReadFile("/proc/self/mountinfo")
	g.missing("host's mounts", err)
	host := ParseMountinfo(string(b))
	for _, m := range own {
		if m.Target == "/" && m.Type == "overlay" {
			g.out.Root = ParseOverlay(m.Options2)
		}
		mount := Mount{ID: m.ID, Parent: m.Parent, Target: m.Target, Type: m.Type, Source: m.Source, Root: m.Root, Options: m.Options, Super: m.Options2,
			Device: m.Device}
		if !pseudo(m.Type) && m.Target != "/" || m.Root != "/" && m.Type != "cgroup" && m.Type != "cgroup2" {
			mount.Host = hostPath(host, m.Device, m.Root)
			if st, err := os.Lstat(mount.Host); err == nil {
				mount.File = !st.IsDir()
			}
		}
		if m.Target == "/dev" && m.Type == "tmpfs" {
			g.devices()
		}
		g.out.Mounts = append(g.out.Mounts, mount)
	}
	g.out.Root.Target = filepath.Join(g.bundle(), "rootfs")
	g.out.Root.Bytes, g.out.Root.Inodes = written(g.out.Root.Upper)
	g.out.Root.Places = places(g.out.Root.Lower)
}

// devices reads the nodes and links of a /dev that is a mount of the container's own, which no program inside can make a link to elsewhere.
func (g *gatherer) devices() {
	dir := proc(g.pid, "root/dev")
	list, err := os.ReadDir(dir)
	g.missing("devices", err)
	for _, e := range list {
		var st unix.Stat_t
		path := filepath.Join(dir, e.Name())
		if unix.Lstat(path, &st) != nil {
			continue
		}
		d := Device{Name: e.Name(), Major: unix.Major(st.Rdev), Minor: unix.Minor(st.Rdev), Mode: fmt.Sprintf("%o", st.Mode&0o7777)}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFCHR:
			d.Kind = "c"
		case unix.S_IFBLK:
			d.Kind = "b"
		case unix.S_IFLNK:
			link, err := os.Readlink(path)
			if err != nil {
				continue
			}
			d = Device{Name: e.Name(), Link: link}
		default:
			continue
		}
		g.out.Root.Devices = append(g.out.Root.Devices, d)
	}
}

// inOrder puts each mount after the one it lies on; the kernel's list may not.
func inOrder(all []MountLine) []MountLine {
	known := map[int]bool{}
	for _, m := range all {
		known[m.ID] = true
	}
	var out []MountLine
	var add func(parent int, top bool)
	add = func(parent int, top bool) {
		for _, m := range all {
			if top && (!known[m.Parent] || m.Parent == m.ID) || !top && m.Parent == parent && m.ID != parent {
				out = append(out, m)
				add(m.ID, false)
			}
		}
	}
	add(0, true)
	return out
}

// pseudo file systems are mounted for the container itself; the rest comes from the host.
func pseudo(kind string) bool {
	return slices.Contains([]string{"proc", "sysfs", "devpts", "mqueue", "cgroup", "cgroup2", "overlay"}, kind)
}

// restingRoot finds what the records say of the root file system of a container that does not run.
func (g *gatherer) restingRoot() {
	files, _ := filepath.Glob(filepath.Join(g.Records.DataDir, "layers", "s*", "snapshot.json"))
	for _, f := range files {
		var s struct {
			Key string `json:"key"`
		}
		if b, err := os.ReadFile(f); err != nil || json.Unmarshal(b, &s) != nil || s.Key != g.record.ID {
			continue
		}
		dir := filepath.Dir(f)
		g.out.Root = Root{Upper: filepath.Join(dir, "u"), Work: filepath.Join(dir, "w")}
		for _, l := range slices.Backward(g.out.Image.Layers) {
			if l.Dir != "" && l.Inodes > 0 {
				g.out.Root.Lower = append(g.out.Root.Lower, l.Dir)
			}
		}
		g.out.Root.Bytes, g.out.Root.Inodes = written(g.out.Root.Upper)
	}
}

// places lists the folder of the layer store that lies beneath all layers.
func places(lower []string) (out []Place) {
	if len(lower) == 0 || !strings.HasSuffix(lower[len(lower)-1], "/layers/r") {
		return nil
	}
	dir := lower[len(lower)-1]
	_ = filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if rel, rerr := filepath.Rel(dir, p); err == nil && rerr == nil && rel != "." {
			out = append(out, Place{Path: rel, File: !e.IsDir()})
		}
		return nil
	})
	return out
}

// written measures what is below dir, dir itself left out.
func written(dir string) (bytes, inodes int64) {
	if dir == "" {
		return 0, 0
	}
	_ = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil && path != dir && unix.Lstat(path, &st) == nil {
			bytes, inodes = bytes+st.Blocks*512, inodes+1
		}
		return nil // what is removed meanwhile is no error
	})
	return bytes, inodes
}

func (g *gatherer) network() {
	hostNetns := "/proc/self/ns/net"
	if g.NauPid > 0 {
		hostNetns = proc(g.NauPid, "ns/net")
	}
	host, err := look(hostNetns, true)
	if err != nil {
		g.missing("host's network", err)
	}
	if g.sandbox.Config.HostNet {
		g.out.Network = Network{Host: true}
		return
	}
	inside, err := look(proc(g.pid, "ns/net"), false)
	if err != nil {
		g.missing("network", err)
		return
	}
	n := connect(inside, host)
	for _, ns := range g.out.Namespaces {
		if ns.Kind == string(kernel.Net) {
			n.Netns = cmp.Or(ns.Pin, proc(g.pid, "ns/net"))
		}
	}
	g.out.Network = n
	g.out.Packets = relevant(host.tables, n.addrs(), n.bridges())
}

func (g *gatherer) security() {
	s, out := ParseStatus(g.read("status")), &g.out.Security
	out.UID, out.GID, out.Groups = s.UID, s.GID, s.Groups
	out.Capabilities = Capabilities{Bounding: CapabilityNames(s.Bnd), Permitted: CapabilityNames(s.Prm), Effective: CapabilityNames(s.Eff),
		Inheritable: CapabilityNames(s.Inh), Ambient: CapabilityNames(s.Amb)}
	out.NoNewPrivs, out.Filters = s.NoNewPrivs, s.Filters
	out.Seccomp = map[int]string{0: "off", 1: "strict", 2: "filter"}[s.Seccomp]
	if b, err := os.ReadFile(proc(g.pid, "attr/current")); err == nil { // an error: no module that labels processes
		out.Label = strings.TrimRight(string(b), "\x00\n")
	}
	if b, err := os.ReadFile("/sys/kernel/security/lsm"); err == nil {
		out.Modules = strings.TrimSpace(string(b))
	}
	out.OOMScoreAdj = strings.TrimSpace(g.read("oom_score_adj"))
	out.UIDMap, out.GIDMap = ParseIDMap(g.read("uid_map")), ParseIDMap(g.read("gid_map"))
	g.out.Rlimits = ParseLimits(g.read("limits"))
	if g.spec == nil || g.spec.Linux == nil {
		return
	}
	out.MaskedPaths, out.ReadonlyPaths = g.spec.Linux.MaskedPaths, g.spec.Linux.ReadonlyPaths
	if p := g.spec.Linux.Seccomp; p != nil {
		out.DefaultAction = string(p.DefaultAction)
		for _, rule := range p.Syscalls {
			out.Syscalls += len(rule.Names)
		}
	}
}

// processes reads the cgroup's processes: those that were started beside the first are among them.
func (g *gatherer) processes() {
	var pids []int
	for _, c := range g.out.Cgroups.Groups {
		b, err := os.ReadFile(filepath.Join(c.Dir, "cgroup.procs"))
		if err == nil {
			pids = append(pids, numbers(string(b))...)
		}
	}
	slices.Sort(pids)
	var all []Process
	for _, pid := range slices.Compact(pids) {
		b, err := os.ReadFile(proc(pid, "status"))
		if err != nil {
			continue // it has ended meanwhile
		}
		s := ParseStatus(string(b))
		p := Process{Pid: pid, Inside: s.Inner, Parent: s.Parent, State: s.State, Threads: s.Threads, RSS: s.RSS, Command: "[" + s.Name + "]"}
		if len(s.UID) > 1 {
			p.UID = s.UID[1]
		}
		if b, err := os.ReadFile(proc(pid, "cmdline")); err == nil && len(b) > 0 {
			p.Command = strings.TrimSpace(strings.ReplaceAll(string(b), "\x00", " "))
		}
		all = append(all, p)
	}
	g.out.Processes = tree(all)
}

// tree orders processes so that each follows its parent, and says how deep each is. Those whose parent is not among them are roots.
func tree(all []Process) []Process {
	known := map[int]bool{}
	for _, p := range all {
		known[p.Pid] = true
	}
	var out []Process
	var add func(parent, depth int, root bool)
	add = func(parent, depth int, root bool) {
		for _, p := range all {
			if root && !known[p.Parent] || !root && p.Parent == parent && p.Pid != parent {
				p.Depth = depth
				out = append(out, p)
				add(p.Pid, depth+1, false)
			}
		}
	}
	add(0, 0, true)
	return out
}
