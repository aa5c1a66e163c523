package layer

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"

	"nau/internal/kernel"
)

// futimens sets a file's times through its descriptor (utimensat with a null path).
func futimens(fd int, t dirTime) error {
	ts := [2]unix.Timespec{t.atime, t.mtime}
	if _, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&ts[0])), 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// chmodAt sets the mode of what was just made at a name, which is of this kind. In a root file system in use something else may stand there by now, a
// symlink out of it above all: what is changed is what was looked at.
func chmodAt(parent int, base string, kind, mode uint32) error {
	fd, err := unix.Openat(parent, base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != kind {
		return unix.ESTALE
	}
	if st.Mode&0o7777 == mode {
		return nil
	}
	return kernel.Chmod(fd, mode)
}

// removeTree removes a directory and all below it, by descriptors only: no component is ever followed. Trees of any depth take a bounded number of
// descriptors: what lies deep is first moved up.
func removeTree(parent int, base string) error {
	top, err := openDir(parent, base)
	if err != nil {
		return err
	}
	defer unix.Close(top)
	moved := 0
	if err := emptyDir(top, top, 0, &moved); err != nil {
		return err
	}
	return unix.Unlinkat(parent, base, unix.AT_REMOVEDIR)
}

func openDir(parent int, base string) (int, error) {
	return unix.Openat(parent, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}

const removeDepth = 64

func emptyDir(top, fd, depth int, moved *int) error {
	own, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	dir := os.NewFile(uintptr(own), ".")
	defer dir.Close()
	for {
		names, err := dir.Readdirnames(1024)
		if len(names) == 0 && err == io.EOF {
			// What was moved up meanwhile may have been missed.
			if _, err := dir.Seek(0, io.SeekStart); err != nil {
				return err
			}
			if names, _ = dir.Readdirnames(1024); len(names) == 0 {
				return nil
			}
		} else if err != nil {
			return err
		}
		for _, n := range names {
			if err := removeEntry(top, fd, n, depth, moved); err != nil && !errors.Is(err, unix.ENOENT) {
				return fmt.Errorf("remove %q: %w", n, err)
			}
		}
	}
}

func removeEntry(top, fd int, name string, depth int, moved *int) error {
	err := unix.Unlinkat(fd, name, 0)
	if !errors.Is(err, unix.EISDIR) {
		return err
	}
	if err = unix.Unlinkat(fd, name, unix.AT_REMOVEDIR); err == nil {
		return nil
	}
	if depth >= removeDepth {
		for {
			*moved++
			err := unix.Renameat2(fd, name, top, fmt.Sprintf(".moved-%d", *moved), unix.RENAME_NOREPLACE)
			if !errors.Is(err, unix.EEXIST) {
				return err
			}
		}
	}
	sub, err := openDir(fd, name)
	if err != nil {
		return err
	}
	defer unix.Close(sub)
	if err := emptyDir(top, sub, depth+1, moved); err != nil {
		return err
	}
	return unix.Unlinkat(fd, name, unix.AT_REMOVEDIR)
}

// removePath is removeTree for a path of the store's own. A missing one is no error.
func removePath(path string) error {
	parent, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	defer unix.Close(parent)
	base := filepath.Base(path)
	err = unix.Unlinkat(parent, base, 0)
	if errors.Is(err, unix.EISDIR) {
		err = removeTree(parent, base)
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	return nil
}
