package volume

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ensureTmpfs mounts a tmpfs on dir unless one is there.
func ensureTmpfs(dir, options string) error {
	var here, parent unix.Stat_t
	if err := unix.Lstat(dir, &here); err != nil {
		return &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	if err := unix.Lstat(filepath.Dir(dir), &parent); err != nil {
		return &os.PathError{Op: "stat", Path: filepath.Dir(dir), Err: err}
	}
	var fs unix.Statfs_t
	if here.Dev != parent.Dev && unix.Statfs(dir, &fs) == nil && fs.Type == unix.TMPFS_MAGIC {
		return nil
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("mount tmpfs on %s: %w", dir, err)
	}
	return nil
}

// detachBelow unmounts everything below dir, deepest first.
func detachBelow(dir string) error {
	if _, err := os.Lstat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("list mounts: %w", err)
	}
	defer f.Close()
	var points []string
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		fields := strings.Fields(sc.Text())
		if len(fields) < 5 {
			continue
		}
		p := unescape(fields[4])
		if strings.HasPrefix(p, dir+"/") {
			points = append(points, p)
		}
	}
	slices.SortFunc(points, func(a, b string) int { return strings.Compare(b, a) })
	for _, p := range points {
		if err := unix.Unmount(p, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("unmount %s: %w", p, err)
		}
	}
	return nil
}

// unescape undoes mountinfo's octal escapes.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

func groupOf(path string) int64 {
	st, err := os.Lstat(path)
	if err != nil {
		return -1
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		return int64(sys.Gid)
	}
	return -1
}

// openBeneath opens path below the directory root; no link may lead out of it, and none of proc's links is followed.
func openBeneath(root int, path string, flags uint64) (int, error) {
	for {
		fd, err := unix.Openat2(root, path, &unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS})
		if !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) {
			return fd, err
		}
	}
}

func readBeneath(root, path string, limit int64) ([]byte, error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: root, Err: err}
	}
	defer unix.Close(dir)
	fd, err := openBeneath(dir, path, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s: not a regular file", path)
	}
	return io.ReadAll(io.LimitReader(f, limit))
}

// SubPath binds one directory or file of a volume to a place of the agent's own and returns that place, so that whatever a
// container does to the volume meanwhile, the runtime mounts what was checked here. A missing sub-path becomes a
// directory. container and index name the mount.
func (k *Keeper) SubPath(uid, volume, base, sub, container string, index int) (string, error) {
	if filepath.IsAbs(sub) || slices.Contains(strings.Split(sub, "/"), "..") {
		return "", fmt.Errorf("subPath %q must be relative and must not contain '..'", sub)
	}
	root, err := unix.Open(base, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", &os.PathError{Op: "open", Path: base, Err: err}
	}
	defer unix.Close(root)
	fd, err := openBeneath(root, sub, unix.O_PATH)
	if errors.Is(err, unix.ENOENT) {
		fd, err = makeBeneath(root, sub)
	}
	if err != nil {
		return "", fmt.Errorf("prepare subPath for volumeMount %q of container %q: %w", volume, container, beneathError(err))
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return "", fmt.Errorf("stat subPath %q: %w", sub, err)
	}
	target := filepath.Join(k.Root, "pods", uid, "volume-subpaths", volume, container, fmt.Sprint(index))
	if err := os.MkdirAll(filepath.Dir(target), 0o750); err != nil {
		return "", fmt.Errorf("make subPath's place: %w", err)
	}
	for unix.Unmount(target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) == nil {
	}
	_ = os.Remove(target)
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		err = os.Mkdir(target, 0o750)
	} else {
		var f *os.File
		if f, err = os.OpenFile(target, os.O_CREATE|os.O_EXCL, 0o640); err == nil {
			err = f.Close()
		}
	}
	if err != nil {
		return "", fmt.Errorf("make subPath's place: %w", err)
	}
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", fd), target, "", unix.MS_BIND, ""); err != nil {
		return "", fmt.Errorf("bind subPath %q: %w", sub, err)
	}
	return target, nil
}

func beneathError(err error) error {
	if errors.Is(err, unix.EXDEV) || errors.Is(err, unix.ELOOP) {
		return errors.New("subpath leads out of the volume")
	}
	return err
}

// makeBeneath makes the directories of path below root one by one and opens the last; each takes the mode and the group of
// the volume.
func makeBeneath(root int, path string) (int, error) {
	var st unix.Stat_t
	if err := unix.Fstat(root, &st); err != nil {
		return -1, err
	}
	at, err := unix.Dup(root)
	if err != nil {
		return -1, err
	}
	for _, part := range strings.Split(filepath.Clean(path), "/") {
		fd, err := openBeneath(at, part, unix.O_PATH)
		if errors.Is(err, unix.ENOENT) {
			if err = unix.Mkdirat(at, part, 0o750); err == nil || errors.Is(err, unix.EEXIST) {
				fd, err = openBeneath(at, part, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW)
				if err == nil {
					self := fmt.Sprintf("/proc/self/fd/%d", fd)
					_ = unix.Chmod(self, st.Mode&0o7777)
				}
			}
		}
		unix.Close(at)
		if err != nil {
			return -1, err
		}
		at = fd
	}
	return at, nil
}

// Purge unmounts everything that a keeper mounted below root.
func Purge(root string) error { return detachBelow(root) }
