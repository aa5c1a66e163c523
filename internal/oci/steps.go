package oci

import (
	"sort"

	"golang.org/x/sys/unix"

	"nau/internal/kernel"
	"nau/internal/kernel/child"
	"nau/internal/oci/cgroup"
	"nau/internal/oci/rootfs"
)

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
