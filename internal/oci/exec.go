package oci

import (
	"errors"
	"fmt"
	"os"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"nau/internal/kernel"
	"nau/internal/kernel/child"
	"nau/internal/oci/rootfs"
)

// ExecOptions say what to run in a container.
type ExecOptions struct {
	Process     *specs.Process
	Stdio       [3]int // as in CreateOptions
	PreserveFDs int
	NoKeyring   bool
	Size        [2]uint16
	Cgroup      string        // below the container's own, or ""
	Forked      func(pid int) // as in CreateOptions
}

// Process is a process that was started in a container.
type Process struct {
	Pid     int
	Pidfd   int // the caller closes it
	Console int // terminal's outer end, or -1; the caller closes it
}

// Exec runs one more process in a running container. It returns when the program is executed.
func (c *Container) Exec(o ExecOptions) (*Process, error) {
	switch s := c.Status(); s {
	case StatusRunning, StatusCreated:
	default:
		return nil, fmt.Errorf("exec in container %s: it is %s: %w", c.record.ID, s, ErrState)
	}
	if o.Process == nil || len(o.Process.Args) == 0 {
		return nil, fmt.Errorf("exec in container %s: %w: process.args is empty", c.record.ID, ErrInvalid)
	}
	if o.Process.Cwd == "" {
		o.Process.Cwd = "/"
	}
	e := &execution{c: c, options: o, report: [2]int{-1, -1}, sync: [2]int{-1, -1}, null: -1, user: -1, root: -1}
	defer e.release()
	if err := e.prepare(); err != nil {
		return nil, fmt.Errorf("exec in container %s: %w", c.record.ID, err)
	}
	if err := kernel.OnThread(e.run); err != nil {
		if e.process.Pid > 0 {
			_ = unix.Kill(e.process.Pid, unix.SIGKILL)
			reap(e.process.Pid)
			kernel.Close(e.process.Pidfd)
		}
		kernel.Close(e.process.Console)
		return nil, fmt.Errorf("exec in container %s: %w", c.record.ID, startError(err, o.Process))
	}
	p := e.process
	return &p, nil
}

type execution struct {
	c       *Container
	options ExecOptions
	id      *identity
	pidfd   int // of the container's first process
	user    int // its user namespace, if another
	root    int // its root, if not its mount namespace's
	report  [2]int
	sync    [2]int
	null    int
	tasks   []int // files of the cgroup, by which the process joins it
	slave   int
	uid     int // the process's user as the host sees it
	cpus    affinity
	program *child.Program
	process Process
}

func (e *execution) prepare() (err error) {
	e.process.Pidfd, e.process.Console, e.slave, e.pidfd = -1, -1, -1, -1
	// The host's, before a thread is where "/proc" and "/dev/null" are the container's.
	if _, err := kernel.Proc(); err != nil {
		return err
	}
	if e.pidfd, err = e.c.open(); err != nil {
		return err
	}
	if e.cpus, err = planAffinity(e.options.Process.ExecCPUAffinity); err != nil {
		return err
	}
	if e.root, err = e.c.openRoot(); err != nil {
		return err
	}
	if e.id, err = e.c.runtime.planIdentity(e.c.spec, e.options.Process, e.c.record.UserNS); err != nil {
		return err
	}
	if !e.options.NoKeyring {
		e.id.keyring = "_ses." + e.c.record.ID
	}
	if e.c.record.UserNS {
		if e.user, err = kernel.OpenProcLink(pidString(e.c.record.Pid)+"/ns", "user", unix.O_RDONLY); err != nil {
			return err
		}
	}
	e.uid = e.hostUser()
	if !e.options.Process.Terminal {
		if e.id.stdio, e.null, err = settleStreams(e.options.Stdio, e.uid); err != nil {
			return err
		}
	}
	if err := unix.Pipe2(e.report[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	if err := unix.Pipe2(e.sync[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	return nil
}

// hostUser is the process's user as the host sees it.
func (e *execution) hostUser() int {
	uid := e.options.Process.User.UID
	if !e.c.record.UserNS {
		return int(uid)
	}
	maps := e.c.spec.Linux.UIDMappings
	if len(maps) == 0 {
		if b, err := os.ReadFile("/proc/" + pidString(e.c.record.Pid) + "/uid_map"); err == nil {
			maps = parseMaps(string(b))
		}
	}
	if h, ok := hostID(maps)(uid); ok {
		return h
	}
	return int(uid)
}

// run is on a thread of its own: it joins the container and makes the process from there.
func (e *execution) run() (err error) {
	cg, err := e.c.cgroup()
	if err != nil {
		return err
	}
	into, err := cg.OpenUnified()
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	defer kernel.Close(into)
	if e.tasks, err = cg.Tasks(); err != nil {
		return err
	}
	process := e.options.Process
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare working directory: %w", err)
	}
	flags := unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWPID | unix.CLONE_NEWCGROUP
	for _, ns := range e.c.spec.Linux.Namespaces {
		if ns.Type == specs.TimeNamespace {
			flags |= unix.CLONE_NEWTIME
		}
	}
	if err := unix.Setns(e.pidfd, flags); err != nil {
		return fmt.Errorf("join the container's namespaces: %w", err)
	}
	if err := enterRoot(e.root); err != nil {
		return err
	}
	root, err := kernel.OpenPath("/")
	if err != nil {
		return err
	}
	defer unix.Close(root)
	if process.Terminal {
		if err := e.terminal(root, e.uid); err != nil {
			return err
		}
	}
	if err := findProgram(process); err != nil {
		return err
	}
	if err := e.compile(root); err != nil {
		return err
	}
	if err := e.cpus.begin(); err != nil {
		return err
	}
	if e.process.Pid, e.process.Pidfd, err = e.program.Start(0, into, e.report[1]); err != nil {
		return err
	}
	kernel.Close(e.report[1])
	e.report[1] = -1
	if e.options.Forked != nil {
		e.options.Forked(e.process.Pid)
	}
	// By another thread, which sees the host's files.
	placed := make(chan error, 1)
	go func() {
		placed <- e.c.runtime.setLimits(e.process.Pid, process)
	}()
	if err := <-placed; err != nil {
		return err
	}
	if _, err := unix.Write(e.sync[1], []byte{1}); err != nil {
		return fmt.Errorf("wake process: %w", err)
	}
	if _, err := e.program.Next(fdReader(e.report[0])); err != nil && !errors.Is(err, child.ErrEnded) {
		return err
	}
	return nil
}

// terminal opens one in the container's devpts, which is proven to be one.
func (e *execution) terminal(root, uid int) error {
	dir, err := kernel.OpenInRoot(root, "/dev/pts", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	var st unix.Statfs_t
	if err := unix.Fstatfs(dir, &st); err != nil || int64(st.Type) != unix.DEVPTS_SUPER_MAGIC {
		return errors.New("open terminal: the container's /dev/pts is no devpts")
	}
	master, slave, _, err := rootfs.OpenTerminal(dir)
	if err != nil {
		return err
	}
	e.process.Console, e.slave, e.id.slave = master, slave, slave
	_ = unix.Fchown(slave, uid, -1)
	size := e.options.Size
	if s := e.options.Process.ConsoleSize; s != nil && s.Width > 0 && s.Height > 0 {
		size = [2]uint16{uint16(s.Width), uint16(s.Height)}
	}
	if size[0] > 0 && size[1] > 0 {
		_ = unix.IoctlSetWinsize(master, unix.TIOCSWINSZ, &unix.Winsize{Col: size[0], Row: size[1]})
	}
	return nil
}

func (e *execution) compile(root int) error {
	p := &child.Program{}
	e.program = p
	keep := map[int]bool{e.sync[0]: true, e.report[1]: true}
	for i := 0; i < e.options.PreserveFDs; i++ {
		keep[3+i] = true
	}
	if e.slave >= 0 {
		keep[e.slave] = true
	} else {
		for _, fd := range e.id.stdio {
			keep[fd] = true
		}
	}
	if e.user >= 0 {
		keep[e.user] = true
	}
	if e.id.label != "" {
		if fd, err := kernel.Proc(); err == nil {
			keep[fd] = true
		}
	}
	for _, fd := range e.tasks {
		keep[fd] = true
	}
	p.CloseAllBut(sorted(keep))
	p.Call("hide memory", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0)
	joinCgroup(p, e.tasks)
	e.cpus.end(p)
	p.Call("begin session", unix.SYS_SETSID)
	p.Await(e.sync[0])
	if e.user >= 0 {
		p.Call("join user namespace", unix.SYS_SETNS, uintptr(e.user), unix.CLONE_NEWUSER)
	}
	if err := e.id.prepare(p); err != nil {
		return err
	}
	if err := e.id.drop(p); err != nil {
		return err
	}
	process := e.options.Process
	return p.Exec(programs(process.Args[0], process.Env), process.Args, environment(root, process))
}

func (e *execution) release() {
	kernel.Close(e.report[0], e.report[1], e.sync[0], e.sync[1], e.null, e.slave, e.user, e.root, e.pidfd)
	kernel.Close(e.tasks...)
}
