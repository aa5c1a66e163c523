package cgroup

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// WatchOOM gives a file that can be read whenever the kernel may have killed a process of the cgroup for want of memory:
// compare OOMKills. Its reads can be ended by closing it.
func (c *Cgroup) WatchOOM() (*os.File, error) {
	if c.v2() {
		fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
		if err != nil {
			return nil, fmt.Errorf("watch for out of memory: %w", err)
		}
		if _, err := unix.InotifyAddWatch(fd, c.Dir("")+"/memory.events", unix.IN_MODIFY); err != nil {
			_ = unix.Close(fd)
			return nil, fmt.Errorf("watch for out of memory: %w", err)
		}
		return os.NewFile(uintptr(fd), "oom"), nil
	}
	dir := c.Dir("memory")
	if dir == "" {
		return nil, fmt.Errorf("watch for out of memory: no memory cgroup on this host")
	}
	// Documentation/admin-guide/cgroup-v1/memory.rst, OOM control.
	control, err := unix.Open(dir+"/memory.oom_control", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("watch for out of memory: %w", err)
	}
	defer unix.Close(control)
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch for out of memory: %w", err)
	}
	if err := writeFile(dir, "cgroup.event_control", fmt.Sprintf("%d %d", fd, control)); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("watch for out of memory: %w", err)
	}
	return os.NewFile(uintptr(fd), "oom"), nil
}
