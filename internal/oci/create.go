package oci

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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
