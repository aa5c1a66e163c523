package rootfs

import (
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"

	"nau/internal/kernel"
)

// openConsole opens a terminal in the container's own devpts, which is still detached: nobody can swap it.
func (r *Root) openConsole() error {
	if r.devpts == nil {
		return errors.New("open terminal: the configuration mounts no devpts at /dev/pts")
	}
	var err error
	r.Master, r.Slave, r.ptsName, err = OpenTerminal(r.devpts.Fd())
	return err
}

// OpenTerminal makes a terminal in the devpts at dir. Both ends are closed on execution.
func OpenTerminal(dir int) (master, slave int, name string, err error) {
	master, err = unix.Openat(dir, "ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return -1, -1, "", fmt.Errorf("open terminal: %w", err)
	}
	defer func() {
		if err != nil {
			_ = unix.Close(master)
			master, slave = -1, -1
		}
	}()
	var st unix.Stat_t
	if err := unix.Fstat(master, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != unix.Mkdev(5, 2) {
		return master, -1, "", errors.New("open terminal: ptmx is not the terminal multiplexer")
	}
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return master, -1, "", fmt.Errorf("unlock terminal: %w", err)
	}
	number, err := unix.IoctlGetUint32(master, unix.TIOCGPTN)
	if err != nil {
		return master, -1, "", fmt.Errorf("number terminal: %w", err)
	}
	// The other end by the descriptor, not by a path that the container could have changed.
	peer, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return master, -1, "", fmt.Errorf("open terminal's other end: %w", errno)
	}
	return master, int(peer), strconv.Itoa(int(number)), nil
}

// bindConsole shows the terminal as /dev/console.
func (r *Root) bindConsole() error {
	if r.Slave < 0 {
		return nil
	}
	tree, err := kernel.CloneTree(r.devpts.Fd(), r.ptsName, false)
	if err != nil {
		return fmt.Errorf("bind console: %w", err)
	}
	defer tree.Close()
	at, err := r.owner().CreateInRoot(r.tree.Fd(), "/dev/console", 0o666)
	if err != nil {
		return fmt.Errorf("bind console: %w", err)
	}
	defer unix.Close(at)
	if err := notProc(at); err != nil {
		return fmt.Errorf("bind console: %w", err)
	}
	return tree.Attach(at)
}
