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

// OpenBelow opens name, which has to lie below the folder dir: unix.EXDEV is the error where a link or ".." leads out of it. Links that stay
// inside are followed, magic links are refused.
func OpenBelow(dir int, name string, flags int) (int, error) {
	fd, err := openat2(dir, name, &unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return -1, fmt.Errorf("open %s below: %w", name, err)
	}
	return fd, nil
}

// Owner owns what is made in a root; the zero value is root.
type Owner struct{ UID, GID int }

// own gives what was just made to its owner.
func (o Owner) own(at int, name string) error {
	if o == (Owner{}) {
		return nil
	}
	if err := unix.Fchownat(at, name, o.UID, o.GID, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set owner of %s in root: %w", name, err)
	}
	return nil
}

// MkdirInRoot makes name and the folders above it, following links inside the root only, and returns a handle (O_PATH) of
// it. Folders that exist are left as they are.
func MkdirInRoot(dir int, name string, mode uint32) (int, error) {
	return Owner{}.MkdirInRoot(dir, name, mode)
}

// CreateInRoot makes an empty file at name if there is nothing, with the folders above, and returns a handle (O_PATH).
func CreateInRoot(dir int, name string, mode uint32) (int, error) {
	return Owner{}.CreateInRoot(dir, name, mode)
}

// MkdirInRoot is the function of that name, and gives the owner what it makes.
func (o Owner) MkdirInRoot(dir int, name string, mode uint32) (int, error) {
	fd, err := OpenInRoot(dir, name, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err == nil {
		return fd, nil
	}
	if !errors.Is(err, unix.ENOENT) {
		return -1, err
	}
	parent, last := path.Split(path.Clean("/" + name))
	at, err := o.MkdirInRoot(dir, strings.TrimSuffix(parent, "/")+"/", mode)
	if err != nil {
		return -1, err
	}
	defer unix.Close(at)
	switch err := unix.Mkdirat(at, last, mode); err {
	case nil:
		if err := o.own(at, last); err != nil {
			return -1, err
		}
	case unix.EEXIST:
	default:
		return -1, fmt.Errorf("make folder %s in root: %w", name, err)
	}
	// A link that points nowhere lands here too: it exists and still does not open.
	return OpenInRoot(dir, name, unix.O_PATH|unix.O_DIRECTORY, 0)
}

// CreateInRoot is the function of that name, and gives the owner what it makes.
func (o Owner) CreateInRoot(dir int, name string, mode uint32) (int, error) {
	fd, err := OpenInRoot(dir, name, unix.O_PATH, 0)
	if err == nil {
		return fd, nil
	}
	if !errors.Is(err, unix.ENOENT) {
		return -1, err
	}
	parent, last := path.Split(path.Clean("/" + name))
	at, err := o.MkdirInRoot(dir, parent, 0o755)
	if err != nil {
		return -1, err
	}
	defer unix.Close(at)
	made, err := unix.Openat(at, last, unix.O_CREAT|unix.O_EXCL|unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, mode)
	if err != nil && err != unix.EEXIST {
		return -1, fmt.Errorf("make file %s in root: %w", name, err)
	}
	if err == nil {
		err = o.own(at, last)
		Close(made)
		if err != nil {
			return -1, err
		}
	}
	return OpenInRoot(dir, name, unix.O_PATH, 0)
}
