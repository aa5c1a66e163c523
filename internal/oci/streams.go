package oci

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"nau/internal/oci/rootfs"
)

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
