// Package diskuse measures folders: how much of the disk comes back when one is removed.
//
// It counts blocks, not lengths: a sparse file is small, a file of one byte takes a block. Lengths are there for those who ask what files hold, not
// what they cost. Rooms of the engine import it; it imports nothing of theirs.
package diskuse

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Of walks a tree without crossing into another file system and counts what lies below path: bytes of disk blocks, and inodes. A file with several
// names counts once; what vanishes meanwhile counts nothing. Nothing below path is followed.
func Of(path string) (bytes, inodes int64, err error) {
	err = each(path, func(st *unix.Stat_t) {
		bytes += st.Blocks * 512
		inodes++
	})
	if err != nil {
		return 0, 0, err
	}
	return bytes, inodes, nil
}

// Lengths adds up how long the files below path are, in the same walk as Of. Folders have no length.
func Lengths(path string) (bytes int64, err error) {
	err = each(path, func(st *unix.Stat_t) {
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			bytes += st.Size
		}
	})
	if err != nil {
		return 0, err
	}
	return bytes, nil
}

// each is the walk: count is called for every inode below path.
func each(path string, count func(*unix.Stat_t)) error {
	seen := map[uint64]struct{}{}
	var walk func(fd int) error
	walk = func(fd int) error {
		dir := os.NewFile(uintptr(fd), path)
		defer dir.Close()
		for {
			names, err := dir.Readdirnames(1024)
			for _, n := range names {
				var st unix.Stat_t
				if err := unix.Fstatat(fd, n, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
					continue // gone meanwhile
				}
				if st.Mode&unix.S_IFMT != unix.S_IFDIR && st.Nlink > 1 {
					if _, ok := seen[st.Ino]; ok {
						continue
					}
					seen[st.Ino] = struct{}{}
				}
				count(&st)
				if st.Mode&unix.S_IFMT == unix.S_IFDIR {
					if sub, err := openBelow(fd, n); err == nil {
						if err := walk(sub); err != nil {
							return err
						}
					}
				}
			}
			if err == io.EOF || len(names) == 0 {
				return nil
			}
			if err != nil {
				return err
			}
		}
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("measure %s: %w", path, err)
	}
	if err := walk(fd); err != nil {
		return fmt.Errorf("measure %s: %w", path, err)
	}
	return nil
}

// openBelow opens a folder in another one, without following a link or a mount.
func openBelow(dir int, name string) (int, error) {
	return unix.Openat2(dir, name, &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC | unix.O_NOFOLLOW,
		Resolve: unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_BENEATH})
}

// Size is how many bytes the file system has that a folder is on.
func Size(path string) (int64, error) {
	st, err := statfs(path)
	return int64(st.Blocks) * st.Bsize, err
}

// Free is how many of them somebody without privileges may still take.
func Free(path string) (int64, error) {
	st, err := statfs(path)
	return int64(st.Bavail) * st.Bsize, err
}

func statfs(path string) (st unix.Statfs_t, err error) {
	if err = unix.Statfs(path, &st); err != nil {
		err = fmt.Errorf("measure the file system of %s: %w", path, err)
	}
	return st, err
}
