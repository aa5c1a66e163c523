package kernel

import (
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// A handle (O_PATH) names a file and does nothing to it. What others may swap is taken hold of by one first, looked at, and only then used: to open a
// device node is to use the device, and to change the mode of what a path names may be to change that of a file of the host's.

// ErrNotFile: what should be a plain file is none.
var ErrNotFile = errors.New("it is not a plain file")

// link names the handle's magic link below the host's procfs, which is proven to be one.
func link(handle int) (proc int, path string, err error) {
	proc, err = Proc()
	return proc, "self/fd/" + strconv.Itoa(handle), err
}

// Chmod sets the mode of what a handle names. Symbolic links have none.
func Chmod(handle int, mode uint32) error {
	proc, path, err := link(handle)
	if err != nil {
		return err
	}
	if err := unix.Fchmodat(proc, path, mode, 0); err != nil {
		return fmt.Errorf("set mode: %w", err)
	}
	return nil
}

// OpenFile opens a plain file below a folder for reading, and nothing else: a link is not followed, a device not opened.
func OpenFile(dir int, name string) (int, error) {
	handle, err := unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", name, err)
	}
	defer unix.Close(handle)
	return openFile(handle, name)
}

// OpenFileInRoot is OpenFile for a path that is resolved as OpenInRoot does; links lead to files of the root.
func OpenFileInRoot(dir int, name string) (int, error) {
	handle, err := OpenInRoot(dir, name, unix.O_PATH, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(handle)
	return openFile(handle, name)
}

func openFile(handle int, name string) (int, error) {
	var st unix.Stat_t
	if err := unix.Fstat(handle, &st); err != nil {
		return -1, fmt.Errorf("stat %s: %w", name, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return -1, fmt.Errorf("open %s: %w", name, ErrNotFile)
	}
	proc, path, err := link(handle)
	if err != nil {
		return -1, err
	}
	fd, err := unix.Openat(proc, path, unix.O_RDONLY|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", name, err)
	}
	return fd, nil
}
