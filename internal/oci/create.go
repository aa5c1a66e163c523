package oci

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"sync"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"nau/internal/kernel"
	"nau/internal/kernel/child"
	"nau/internal/oci/cgroup"
	"nau/internal/oci/rootfs"
)

// creation is a container on its way. Everything in it is undone by undo.
type creation struct {
	runtime *Runtime
	options CreateOptions
	spec    *specs.Spec
	c       *Container

	cgroup     *cgroup.Cgroup
	madeCgroup bool
	root       *rootfs.Root
	ns         *namespaces
	id         *identity
	program    *child.Program
	start      int // FIFOs
	exec       int
	syncR      int // bytes from us to the process
	syncW      int
	reportR    int // reports from the process to us
	reportW    int
	chroot     bool // the process has to enter its root itself
	idle       bool // there is no program to execute
	null       int
	tasks      []int // files of the cgroup, by which the process joins it
	pid        int
	pidfd      int
}

// Create makes a container and leaves its process waiting for Start.
func (r *Runtime) Create(o CreateOptions) (c *Container, err error) {
	if err := CheckID(o.ID); err != nil {
		return nil, err
	}
	spec, raw, err := LoadSpec(o.Bundle)
	if err != nil {
		return nil, err
	}
	if err := Validate(spec); err != nil {
		return nil, err
	}
	n := &creation{runtime: r, options: o, spec: spec, idle: spec.Process == nil, start: -1, exec: -1, syncR: -1, syncW: -1, reportR: -1, reportW: -1, null: -1, pidfd: -1}
	if n.idle {
		// Only start needs it (runtime specification, config.md, "Process"). What waits for start has to be something.
		own := *spec
		own.Process = &specs.Process{Cwd: "/"}
		n.spec = &own
	}
	// The host's, before a thread is where "/proc" is the container's.
	if _, err := kernel.Proc(); err != nil {
		return nil, err
	}
	if n.cgroup, err = cgroup.Open(cgroupPath(spec, o.ID)); err != nil {
		return nil, err
	}
	bundle, err := filepath.Abs(o.Bundle)
	if err != nil {
		return nil, err
	}
	n.options.Bundle = bundle
	n.c = &Container{runtime: r, spec: spec, Pidfd: -1, Console: -1,
		record: record{ID: o.ID, Bundle: bundle, Created: time.Now().UTC(), Cgroup: n.cgroup.Path, NoPivot: o.NoPivot}}
	if err := n.claim(raw); err != nil {
		return nil, err
	}
	defer n.release()
	if err := n.prepare(); err != nil {
		return nil, errors.Join(err, n.undo())
	}
	if err := kernel.OnThread(n.build); err != nil {
		return nil, errors.Join(err, n.undo())
	}
	n.c.Pidfd, n.pidfd = n.pidfd, -1
	n.c.Console, n.root.Master = n.root.Master, -1
	return n.c, nil
}

// cgroupPath is where the configuration wants the container, or a place of this runtime's.
func cgroupPath(spec *specs.Spec, id string) string {
	if spec.Linux != nil && spec.Linux.CgroupsPath != "" {
		return spec.Linux.CgroupsPath
	}
	return "/nau-oci/" + id
}

// claim takes the container's name by making its folder.
func (n *creation) claim(raw []byte) error {
	if err := os.MkdirAll(n.runtime.Root, 0o711); err != nil {
		return fmt.Errorf("make runtime root: %w", err)
	}
	dir := n.runtime.dir(n.options.ID)
	if err := os.Mkdir(dir, 0o711); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("container %s: %w", n.options.ID, ErrExists)
		}
		return fmt.Errorf("make container folder: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, configFile), raw, 0o600); err != nil {
		return errors.Join(fmt.Errorf("keep configuration: %w", err), os.RemoveAll(dir))
	}
	return nil
}

// prepare does all that needs no new namespace.
func (n *creation) prepare() (err error) {
	l := n.spec.Linux
	if n.madeCgroup, err = n.cgroup.Create(); err != nil {
		return err
	}
	var resources *specs.LinuxResources
	if l != nil {
		resources = l.Resources
	}
	lost, err := n.cgroup.Apply(resources, true)
	n.runtime.warnLost(lost)
	if err != nil {
		return err
	}
	if n.tasks, err = n.cgroup.Tasks(); err != nil {
		return err
	}
	if n.ns, err = planNamespaces(l); err != nil {
		return err
	}
	cfg := rootfs.Config{Spec: n.spec, Bundle: n.options.Bundle, Cgroup: n.cgroup, Console: n.spec.Process.Terminal, NoPivot: n.options.NoPivot, HostMounts: hostMounts(n.spec), UserNS: newUserNS}
	n.chroot = !cfg.Entered()
	if n.ns.userns() {
		n.c.record.UserNS = true
		uid, gid, err := n.mappings()
		if err != nil {
			return err
		}
		cfg.HostUID, cfg.HostGID = hostID(uid), hostID(gid)
		var ok, ok2 bool
		if cfg.RootUID, ok = cfg.HostUID(0); !ok {
			return fmt.Errorf("%w: uidMappings do not map user 0", ErrInvalid)
		}
		if cfg.RootGID, ok2 = cfg.HostGID(0); !ok2 {
			return fmt.Errorf("%w: gidMappings do not map group 0", ErrInvalid)
		}
	}
	if n.root, err = rootfs.Prepare(cfg); err != nil {
		return err
	}
	if cfg.HostMounts {
		if err := n.noteMount(cfg.Folder()); err != nil {
			return err
		}
	}
	if l.MountLabel != "" && !kernel.SELinux.Can() {
		n.runtime.warn("linux.mountLabel %q is left out: %v", l.MountLabel, kernel.SELinux.Check())
	}
	if n.id, err = n.runtime.planIdentity(n.spec, n.spec.Process, n.ns.userns()); err != nil {
		return err
	}
	n.id.first = true
	if !n.options.NoKeyring {
		n.id.keyring = "_ses." + n.options.ID
	}
	if err := n.channels(); err != nil {
		return err
	}
	if err := n.streams(cfg); err != nil {
		return err
	}
	return n.compile()
}

// mappings of the container's user namespace: the configuration's, or read from the one that is joined.
func (n *creation) mappings() (uid, gid []specs.LinuxIDMapping, err error) {
	l := n.spec.Linux
	if len(l.UIDMappings) > 0 && len(l.GIDMappings) > 0 {
		return l.UIDMappings, l.GIDMappings, nil
	}
	if n.ns.user < 0 {
		return nil, nil, fmt.Errorf("%w: a new user namespace needs uidMappings and gidMappings", ErrInvalid)
	}
	return mappingsOf(n.ns.user)
}

// channels opens what the process and this program, or a later start, speak over.
func (n *creation) channels() (err error) {
	dir := n.runtime.dir(n.options.ID)
	for _, f := range []struct {
		name string
		fd   *int
	}{{startFifo, &n.start}, {execFifo, &n.exec}} {
		path := filepath.Join(dir, f.name)
		if err := unix.Mkfifo(path, 0o600); err != nil {
			return fmt.Errorf("make fifo %s: %w", f.name, err)
		}
		// For both directions, so that opening does not wait for the other side.
		if *f.fd, err = unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0); err != nil {
			return fmt.Errorf("open fifo %s: %w", f.name, err)
		}
	}
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	n.syncR, n.syncW = p[0], p[1]
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	n.reportR, n.reportW = p[0], p[1]
	return nil
}

// streams settles the process's descriptors 0, 1, 2 and lets its user own pipes it is given.
func (n *creation) streams(cfg rootfs.Config) error {
	uid := int(n.spec.Process.User.UID)
	if cfg.HostUID != nil {
		h, ok := cfg.HostUID(n.spec.Process.User.UID)
		if !ok {
			return fmt.Errorf("%w: user %d is not mapped", ErrInvalid, uid)
		}
		uid = h
	}
	if n.spec.Process.Terminal {
		n.id.slave = n.root.Slave
		_ = unix.Fchown(n.root.Slave, uid, -1)
		size := n.options.Size
		if s := n.spec.Process.ConsoleSize; s != nil && s.Width > 0 && s.Height > 0 {
			size = [2]uint16{uint16(s.Width), uint16(s.Height)}
		}
		if size[0] > 0 && size[1] > 0 {
			_ = unix.IoctlSetWinsize(n.root.Master, unix.TIOCSWINSZ, &unix.Winsize{Col: size[0], Row: size[1]})
		}
		return nil
	}
	var err error
	n.id.stdio, n.null, err = settleStreams(n.options.Stdio, uid)
	return err
}

// settleStreams gives /dev/null for -1, moves descriptors below 3 out of the way unless they are in their place, and
// makes pipes the user's, who may want to open them again by /dev/stdout.
func settleStreams(stdio [3]int, uid int) (settled [3]int, null int, err error) {
	null = -1
	for i, fd := range stdio {
		if fd < 0 {
			if null < 0 {
				if null, err = unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
					return settled, -1, fmt.Errorf("open /dev/null: %w", err)
				}
			}
			settled[i] = null
			continue
		}
		if fd < 3 && fd != i {
			if fd, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 10); err != nil {
				return settled, null, fmt.Errorf("move descriptor: %w", err)
			}
		}
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil && int(st.Uid) != uid && (st.Mode&unix.S_IFMT == unix.S_IFIFO || st.Mode&unix.S_IFMT == unix.S_IFSOCK) {
			_ = unix.Fchown(fd, uid, -1)
		}
		settled[i] = fd
	}
	return settled, null, nil
}

// compile writes down what the process will do.
func (n *creation) compile() error {
	p := &child.Program{}
	n.program = p
	keep := map[int]bool{n.syncR: true, n.reportW: true, n.start: true, n.exec: true}
	for i := 0; i < n.options.PreserveFDs; i++ {
		keep[3+i] = true
	}
	if n.id.slave >= 0 {
		keep[n.id.slave] = true
	} else {
		for _, fd := range n.id.stdio {
			keep[fd] = true
		}
	}
	if n.ns.user >= 0 {
		keep[n.ns.user] = true
	}
	if n.id.label != "" {
		if fd, err := kernel.Proc(); err == nil {
			keep[fd] = true
		}
	}
	for _, fd := range n.tasks {
		keep[fd] = true
	}
	if n.chroot {
		keep[n.root.Fd()] = true
	}
	p.CloseAllBut(sorted(keep))
	p.Call("hide memory", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0)
	if n.ns.user >= 0 {
		p.Call("join user namespace", unix.SYS_SETNS, uintptr(n.ns.user), unix.CLONE_NEWUSER)
		if n.ns.forks() {
			p.Fork(n.ns.new|unix.CLONE_PARENT, -1)
			p.Await(n.syncR) // the first one has told the number of this one: else a report of this one could come before
		} else {
			p.Call("new namespaces", unix.SYS_UNSHARE, uintptr(n.ns.new))
			p.Ready()
		}
	}
	joinCgroup(p, n.tasks)
	p.Ready()
	p.Call("begin session", unix.SYS_SETSID)
	for _, m := range n.root.ProcMounts() {
		if err := makeProc(p, m); err != nil {
			return err
		}
	}
	p.Await(n.syncR)
	if n.ns.newCg {
		p.Call("new cgroup namespace", unix.SYS_UNSHARE, unix.CLONE_NEWCGROUP)
	}
	p.Await(n.syncR)
	if n.chroot {
		here, err := p.String(".")
		if err != nil {
			return err
		}
		p.Call("enter root", unix.SYS_FCHDIR, uintptr(n.root.Fd()))
		p.Call("change root", unix.SYS_CHROOT, here)
		p.Call("close root", unix.SYS_CLOSE, uintptr(n.root.Fd()))
	}
	if err := n.id.prepare(p); err != nil {
		return err
	}
	// A system call filter comes last: waiting and reporting need not be allowed by it. Without one, everything that can
	// go wrong goes wrong now.
	if n.id.filter == nil {
		if err := n.id.drop(p); err != nil {
			return err
		}
	}
	p.Ready()
	p.ReportTo(n.exec)
	p.Await(n.start)
	if n.id.filter != nil {
		if err := n.id.drop(p); err != nil {
			return err
		}
	}
	if n.idle {
		p.Call("end", unix.SYS_EXIT, 0)
		return nil
	}
	process := n.spec.Process
	return p.Exec(programs(process.Args[0], process.Env), process.Args, environment(n.root.Fd(), process))
}

// joinCgroup adds the steps by which the process takes itself into its cgroup. What may write there is whoever opened the
// files, not the process.
func joinCgroup(p *child.Program, tasks []int) {
	self := p.Bytes([]byte(cgroup.Self))
	for _, fd := range tasks {
		p.Call("join cgroup", unix.SYS_WRITE, uintptr(fd), self, uintptr(len(cgroup.Self)))
		p.Call("close cgroup", unix.SYS_CLOSE, uintptr(fd))
	}
}

// makeProc adds the steps that make a procfs of the process's own PID namespace and tell its descriptor.
func makeProc(p *child.Program, m rootfs.ProcMount) error {
	fstype, err := p.String("proc")
	if err != nil {
		return err
	}
	p.Call("open file system proc", unix.SYS_FSOPEN, fstype, unix.FSOPEN_CLOEXEC).Save(0)
	for _, param := range append([]kernel.Param{{Key: "source", Value: "proc"}}, m.Data...) {
		key, err := p.String(param.Key)
		if err != nil {
			return err
		}
		value, err := p.String(param.Value)
		if err != nil {
			return err
		}
		set := uintptr(unix.FSCONFIG_SET_STRING)
		if param.Flag {
			set, value = unix.FSCONFIG_SET_FLAG, 0
		}
		p.Call("set option "+param.Key+" of proc", unix.SYS_FSCONFIG, 0, set, key, value).Load(0)
	}
	p.Call("create file system proc", unix.SYS_FSCONFIG, 0, unix.FSCONFIG_CMD_CREATE).Load(0)
	p.Call("mount file system proc", unix.SYS_FSMOUNT, 0, unix.FSMOUNT_CLOEXEC, uintptr(m.Attrs)).Load(0).Save(1)
	p.Call("close file system context", unix.SYS_CLOSE, 0).Load(0)
	p.Tell(1)
	return nil
}

func sorted(set map[int]bool) []int {
	list := make([]int, 0, len(set))
	for fd := range set {
		list = append(list, fd)
	}
	sort.Ints(list)
	return list
}

// build runs on a thread of its own: it makes the process, joins its namespaces and builds what it will see.
func (n *creation) build() error {
	if err := n.spawn(); err != nil {
		return err
	}
	// Beside the mounts, by a thread that sees the host's files.
	placed := make(chan error, 1)
	go func() { placed <- n.place() }()
	err := n.assemble(placed)
	if err != nil {
		return err
	}
	// All is there. Let it go on, up to the program.
	if _, err := unix.Write(n.syncW, []byte{2}); err != nil {
		return fmt.Errorf("wake process: %w", err)
	}
	kernel.Close(n.reportW)
	n.reportW = -1
	if _, err := n.program.Next(fdReader(n.reportR)); err != nil {
		return fmt.Errorf("set up process: %w", err)
	}
	return nil
}

func (n *creation) spawn() (err error) {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare working directory: %w", err)
	}
	for _, j := range n.ns.join {
		if err := kernel.JoinThread(j.fd, j.kind); err != nil {
			return err
		}
	}
	if n.ns.newTm {
		if err := newTimeNS(n.spec.Linux.TimeOffsets); err != nil {
			return err
		}
	}
	into := -1
	if n.ns.user < 0 {
		if into, err = n.cgroup.OpenUnified(); err != nil {
			return err
		}
		defer kernel.Close(into)
	}
	if err := n.leaveMounts(); err != nil {
		return err
	}
	flags := n.ns.new
	if n.ns.user >= 0 {
		flags = 0 // made by the process itself, once it has joined the user namespace that is to own them
	}
	if n.pid, n.pidfd, err = n.program.Start(flags, into, n.reportW); err != nil {
		return err
	}
	if n.ns.user >= 0 {
		if err := n.joined(); err != nil {
			return fmt.Errorf("join user namespace: %w", err)
		}
	}
	n.c.record.Pid = n.pid
	if n.options.Forked != nil {
		n.options.Forked(n.pid)
	}
	if _, n.c.record.StartTime, err = processStat(n.pid); err != nil {
		return err
	}
	if flags := n.ns.enter(); flags != 0 {
		if err := unix.Setns(n.pidfd, flags); err != nil {
			return fmt.Errorf("join the container's namespaces: %w", err)
		}
	}
	return nil
}

// joined waits until the process is in the user namespace that was joined, and has its own namespaces there.
func (n *creation) joined() error {
	pid, err := n.program.Next(fdReader(n.reportR))
	if err != nil || !n.ns.forks() {
		return err
	}
	first, fd := n.pid, n.pidfd
	n.pid, n.pidfd = pid, -1
	kernel.Close(fd)
	reap(first)
	if n.pidfd, err = unix.PidfdOpen(pid, 0); err != nil {
		return fmt.Errorf("open process %d: %w", pid, err)
	}
	if _, err := unix.Write(n.syncW, []byte{3}); err != nil {
		return fmt.Errorf("wake process %d: %w", pid, err)
	}
	return nil
}

// place maps the process's ids, sets its limits and writes the record. Once it is told to go on up to its program the process waits
// for a start whatever becomes of this program: until then it ends with it, from then on the record knows of it.
func (n *creation) place() error {
	l := n.spec.Linux
	if n.ns.new&unix.CLONE_NEWUSER != 0 && n.ns.user < 0 {
		if err := writeMaps(n.pid, l.UIDMappings, l.GIDMappings); err != nil {
			return err
		}
	}
	if n.ns.user >= 0 { // else it was made there
		if err := n.cgroup.Add(n.pid, false); err != nil {
			return err
		}
	}
	if err := n.runtime.setLimits(n.pid, n.spec.Process); err != nil {
		return err
	}
	if _, err := unix.Write(n.syncW, []byte{1}); err != nil {
		return fmt.Errorf("wake process: %w", err)
	}
	n.c.record.Steps = n.program.Names()
	return n.c.save()
}

func (n *creation) assemble(placed <-chan error) error {
	waited := false
	defer func() {
		if !waited {
			<-placed
		}
	}()
	if _, err := n.program.Next(fdReader(n.reportR)); err != nil { // it is in its cgroup
		return err
	}
	for _, m := range n.root.ProcMounts() {
		fd, err := n.program.Next(fdReader(n.reportR))
		if err != nil {
			return err
		}
		own, err := unix.PidfdGetfd(n.pidfd, fd, 0)
		if err != nil {
			return fmt.Errorf("take over proc: %w", err)
		}
		m.Made(own)
	}
	if err := n.root.Assemble(); err != nil {
		return err
	}
	if n.ns.new&unix.CLONE_NEWUTS != 0 || n.joins(kernel.UTS) {
		if err := setNames(n.spec); err != nil {
			return err
		}
	}
	if n.ns.new&unix.CLONE_NEWNET != 0 {
		if err := loopbackUp(); err != nil {
			return err
		}
	}
	if err := n.netDevices(); err != nil {
		return err
	}
	if err := setSysctls(n.spec); err != nil {
		return err
	}
	waited = true
	if err := <-placed; err != nil {
		return err
	}
	if h := n.spec.Hooks; h != nil {
		state := n.state(specs.StateCreating)
		elsewhere := make(chan error, 1)
		go func() {
			if err := runHooks("prestart", h.Prestart, state); err != nil { //nolint:staticcheck // old bundles have them
				elsewhere <- err
				return
			}
			elsewhere <- runHooks("createRuntime", h.CreateRuntime, state)
		}()
		if err := <-elsewhere; err != nil {
			return err
		}
		if err := runHooks("createContainer", h.CreateContainer, state); err != nil {
			return err
		}
	}
	if err := n.root.Finish(); err != nil {
		return err
	}
	if err := n.root.Enter(); err != nil {
		return err
	}
	if n.idle {
		return nil
	}
	return findProgram(n.spec.Process)
}

func (n *creation) joins(kind kernel.Namespace) bool {
	for _, j := range n.ns.join {
		if j.kind == kind {
			return true
		}
	}
	return false
}

func (n *creation) state(status specs.ContainerState) specs.State {
	return specs.State{Version: specs.Version, ID: n.options.ID, Status: status, Pid: n.pid, Bundle: n.options.Bundle, Annotations: n.spec.Annotations}
}

// release lets go of what only the making needed.
func (n *creation) release() {
	kernel.Close(n.start, n.exec, n.syncR, n.syncW, n.reportR, n.reportW, n.null, n.pidfd)
	kernel.Close(n.tasks...)
	if n.ns != nil {
		n.ns.close()
	}
	if n.root != nil {
		n.root.Close()
	}
}

// undo takes a half-made container away.
func (n *creation) undo() error {
	if n.pid > 0 {
		_ = unix.Kill(n.pid, unix.SIGKILL)
		reap(n.pid)
		n.pid = 0
	}
	errs := []error{n.runtime.unmountRoot(n.options.ID)}
	if n.madeCgroup {
		errs = append(errs, n.cgroup.Remove())
	}
	return errors.Join(append(errs, os.RemoveAll(n.runtime.dir(n.options.ID)))...)
}

// reap waits for a child of this program.
func reap(pid int) {
	for {
		if _, err := unix.Wait4(pid, nil, unix.WALL, nil); err != unix.EINTR {
			return
		}
	}
}

// fdReader reads a bare descriptor.
type fdReader int

func (f fdReader) Read(b []byte) (int, error) {
	for {
		n, err := unix.Read(int(f), b)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, err
		case n == 0:
			return 0, errEOF
		}
		return n, nil
	}
}

// setNames sets host and domain name, in the thread's UTS namespace.
func setNames(spec *specs.Spec) error {
	if spec.Hostname != "" {
		if err := unix.Sethostname([]byte(spec.Hostname)); err != nil {
			return fmt.Errorf("set hostname: %w", err)
		}
	}
	if spec.Domainname != "" {
		if err := unix.Setdomainname([]byte(spec.Domainname)); err != nil {
			return fmt.Errorf("set domainname: %w", err)
		}
	}
	return nil
}

// setSysctls writes kernel parameters, which the kernel looks up in the thread's namespaces.
func setSysctls(spec *specs.Spec) error {
	if spec.Linux == nil {
		return nil
	}
	for name, value := range spec.Linux.Sysctl {
		if err := kernel.WriteProc("sys/"+sysctlPath(name), value); err != nil {
			return fmt.Errorf("set sysctl %s: %w", name, err)
		}
	}
	return nil
}

// loopbackUp brings the new network namespace's loopback interface up.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("bring loopback up: %w", err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("bring loopback up: %w", err)
	}
	return nil
}

// newTimeNS makes the thread's children live in a new time namespace.
func newTimeNS(offsets map[string]specs.LinuxTimeOffset) error {
	if err := kernel.TimeNS.Check(); err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWTIME); err != nil {
		return fmt.Errorf("new time namespace: %w", err)
	}
	for clock, o := range offsets {
		line := fmt.Sprintf("%s %d %d\n", clock, o.Secs, o.Nanosecs)
		// The file is there for every thread, by its number; "self" is the first thread.
		if err := kernel.WriteProc(strconv.Itoa(unix.Gettid())+"/timens_offsets", line); err != nil {
			return fmt.Errorf("set time offset: %w", err)
		}
	}
	return nil
}

// LoadSpec reads a bundle's configuration.
func LoadSpec(bundle string) (*specs.Spec, []byte, error) {
	raw, err := os.ReadFile(filepath.Join(bundle, "config.json"))
	if err != nil {
		return nil, nil, fmt.Errorf("read configuration: %w", err)
	}
	spec, err := DecodeSpec(raw)
	return spec, raw, err
}

// linuxSpec is specs.Spec less what is for other systems: the decoder looks at every field of every type that a type
// mentions before it begins, and half of that is not for Linux.
type linuxSpec struct {
	Version     string            `json:"ociVersion"`
	Process     *specs.Process    `json:"process"`
	Root        *specs.Root       `json:"root"`
	Hostname    string            `json:"hostname"`
	Domainname  string            `json:"domainname"`
	Mounts      []specs.Mount     `json:"mounts"`
	Hooks       *specs.Hooks      `json:"hooks"`
	Annotations map[string]string `json:"annotations"`
	Linux       *linuxSection     `json:"linux"`
}

// linuxSection is specs.Linux with its largest part as text: nearly all containers of a node have the same one.
type linuxSection struct {
	specs.Linux
	Seccomp json.RawMessage `json:"seccomp"`
}

// profile is the system call filter that was decoded last.
var profile struct {
	mu      sync.Mutex
	text    []byte
	decoded *specs.LinuxSeccomp
}

// decodeProfile reads a system call filter; the result is read-only.
func decodeProfile(text []byte) (*specs.LinuxSeccomp, error) {
	profile.mu.Lock()
	defer profile.mu.Unlock()
	if len(text) == 0 || !bytes.Equal(text, profile.text) {
		var s *specs.LinuxSeccomp
		if len(text) > 0 {
			if err := json.Unmarshal(text, &s); err != nil {
				return nil, err
			}
		}
		if s == nil {
			return nil, nil
		}
		profile.text, profile.decoded = bytes.Clone(text), s
	}
	return profile.decoded, nil
}

// DecodeSpec reads a configuration. Fields it does not know are passed over, as the specification says.
func DecodeSpec(raw []byte) (*specs.Spec, error) {
	var s linuxSpec
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, fmt.Errorf("%w: decode config.json: %w", ErrInvalid, err)
	}
	spec := &specs.Spec{Version: s.Version, Process: s.Process, Root: s.Root, Hostname: s.Hostname, Domainname: s.Domainname, Mounts: s.Mounts,
		Hooks: s.Hooks, Annotations: s.Annotations}
	if s.Linux != nil {
		spec.Linux = &s.Linux.Linux
		var err error
		if spec.Linux.Seccomp, err = decodeProfile(s.Linux.Seccomp); err != nil {
			return nil, fmt.Errorf("%w: decode config.json: linux.seccomp: %w", ErrInvalid, err)
		}
	}
	return spec, nil
}
