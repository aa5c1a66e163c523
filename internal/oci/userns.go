package oci

import (
	"fmt"
	"io"
	"os"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"nau/internal/kernel"
	"nau/internal/kernel/child"
)

var errEOF = io.EOF

// idle makes a process that runs the steps and waits until f is done with it.
func idle(steps func(*child.Program), flags uint64, keep []int, f func(pid int) error) error {
	var wait, report [2]int
	if err := unix.Pipe2(wait[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	defer kernel.Close(wait[:]...)
	if err := unix.Pipe2(report[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	defer func() { kernel.Close(report[0]) }()
	p := &child.Program{}
	set := map[int]bool{wait[0]: true, report[1]: true}
	for _, fd := range keep {
		set[fd] = true
	}
	p.CloseAllBut(sorted(set))
	steps(p)
	p.Ready()
	p.Await(wait[0])
	pid, pidfd, err := p.Start(flags, -1, report[1])
	kernel.Close(report[1])
	if err != nil {
		return err
	}
	defer reap(pid)
	defer kernel.Close(pidfd)
	defer unix.Kill(pid, unix.SIGKILL)
	if _, err := p.Next(fdReader(report[0])); err != nil {
		return err
	}
	return f(pid)
}

// newUserNS makes a user namespace with the mappings and returns a descriptor of it.
func newUserNS(uid, gid []specs.LinuxIDMapping) (fd int, err error) {
	fd = -1
	err = idle(func(*child.Program) {}, unix.CLONE_NEWUSER, nil, func(pid int) error {
		if err := writeMaps(pid, uid, gid); err != nil {
			return err
		}
		fd, err = kernel.OpenProcLink(strconv.Itoa(pid)+"/ns", "user", unix.O_RDONLY)
		return err
	})
	if err != nil {
		return -1, fmt.Errorf("make user namespace: %w", err)
	}
	return fd, nil
}

// mappingsOf reads the mappings of a user namespace through a process that joins it.
func mappingsOf(ns int) (uid, gid []specs.LinuxIDMapping, err error) {
	join := func(p *child.Program) {
		p.Call("join user namespace", unix.SYS_SETNS, uintptr(ns), unix.CLONE_NEWUSER)
	}
	err = idle(join, 0, []int{ns}, func(pid int) error {
		u, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/uid_map")
		if err != nil {
			return fmt.Errorf("read user mappings: %w", err)
		}
		g, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/gid_map")
		if err != nil {
			return fmt.Errorf("read group mappings: %w", err)
		}
		uid, gid = parseMaps(string(u)), parseMaps(string(g))
		return nil
	})
	return uid, gid, err
}
