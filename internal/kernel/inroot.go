package kernel

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// OpenInRoot opens name as a process would whose root is the folder dir: absolute links and ".." stay inside, magic links
// are refused. flags are open flags; mode is used with O_CREAT.
func OpenInRoot(dir int, name string, flags int, mode uint32) (int, error) {
	how := &unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	if flags&(unix.O_CREAT|unix.O_TMPFILE) != 0 {
		how.Mode = uint64(mode)
	}
	if name == "" {
		name = "."
	}
	fd, err := openat2(dir, name, how)
	if err != nil {
		return -1, fmt.Errorf("open %s in root: %w", name, err)
	}
	return fd, nil
}

// MkdirInRoot makes name and the folders above it, following links inside the root only, and returns a handle (O_PATH) of
// it. Folders that exist are left as they are.
func MkdirInRoot(dir int, name string, mode uint32) (int, error) {
	fd, err := OpenInRoot(dir, name, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err == nil {
		return fd, nil
	}
	if !errors.Is(err, unix.ENOENT) {
		return -1, err
	}
	parent, last := path.Split(path.Clean("/" + name))
	at, err := MkdirInRoot(dir, strings.TrimSuffix(parent, "/")+"/", mode)
	if err != nil {
		return -1, err
	}
	defer unix.Close(at)
	if err := unix.Mkdirat(at, last, mode); err != nil && err != unix.EEXIST {
		return -1, fmt.Errorf("make folder %s in root: %w", name, err)
	}
	// A link that points nowhere lands here too: it exists and still does not open.
	return OpenInRoot(dir, name, unix.O_PATH|unix.O_DIRECTORY, 0)
}

// CreateInRoot makes an empty file at name if there is nothing, with the folders above, and returns a handle (O_PATH).
func CreateInRoot(dir int, name string, mode uint32) (int, error) {
	fd, err := OpenInRoot(dir, name, unix.O_PATH, 0)
	if err == nil {
		return fd, nil
	}
	if !errors.Is(err, unix.ENOENT) {
		return -1, err
	}
	parent, last := path.Split(path.Clean("/" + name))
	at, err := MkdirInRoot(dir, parent, 0o755)
	if err != nil {
		return -1, err
	}
	defer unix.Close(at)
	made, err := unix.Openat(at, last, unix.O_CREAT|unix.O_EXCL|unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, mode)
	if err != nil && err != unix.EEXIST {
		return -1, fmt.Errorf("make file %s in root: %w", name, err)
	}
	Close(made)
	return OpenInRoot(dir, name, unix.O_PATH, 0)
}
