package layer

import (
	"archive/tar"
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"nau/internal/kernel/idmap"
)

// ExtractOptions of one copy into a container.
type ExtractOptions struct {
	Owner     *[2]int // user and group for everything; nil = as the archive says
	Overwrite bool    // a directory may take a file's place, and the reverse
	Dots      bool    // a name may have ".." in it, if it stays inside: "a/../b" is "b"
	Limits    Limits  // zero fields: DefaultLimits
	// Owners is the user namespace that the root file system belongs to: ids of the archive, and of Owner, are those seen in there.
	Owners idmap.Map
}

// live is what unpacking into a root file system in use needs beside.
type live struct {
	ExtractOptions
	dir string // where the archive goes, clean and relative to the root
}

func (l *live) name(name string) string {
	return strings.Trim(l.dir+"/"+name, "/")
}

// Extract unpacks an archive in any compression into directory dir of the root file system at root (a container's: /proc/PID/root, or its mounted snapshot).
// Whatever runs in there may change it meanwhile: every name is resolved by the kernel below root, nothing is looked at first and opened by
// name later, and no program is run (the class of CVE-2018-15664 and CVE-2019-14271). ErrNotFound if dir is not there.
func Extract(ctx context.Context, root, dir string, archive io.Reader, opts ExtractOptions) error {
	fd, err := openRoot(root)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	l := &live{ExtractOptions: opts, dir: strings.TrimPrefix(path.Clean("/"+dir), "/")}
	if l.dir != "" {
		d, err := openIn(fd, l.dir, unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			return fmt.Errorf("open %q in container: %w", dir, inContainer(err))
		}
		unix.Close(d)
	}
	limits := opts.Limits
	if limits.Entries == 0 {
		limits.Entries = DefaultLimits.Entries
	}
	if limits.Bytes == 0 {
		limits.Bytes = DefaultLimits.Bytes
	}
	if limits.Reserve == 0 {
		limits.Reserve = DefaultLimits.Reserve
	}
	plain, err := Decompress(archive)
	if err != nil {
		return err
	}
	defer plain.Close()
	u := newUnpacker(fd, limits)
	u.live = l
	if _, err := u.unpack(ctx, plain); err != nil {
		return fmt.Errorf("copy into container: %w", err)
	}
	return nil
}

func openRoot(root string) (int, error) {
	fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open container's root: %w", err)
	}
	return fd, nil
}

// inContainer turns "not there" and "not a directory" into the kinds that callers know.
func inContainer(err error) error {
	if errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return err
}

// liveEntry makes one entry in a root file system in use. Names that layers take for whiteouts are names here.
func (u *unpacker) liveEntry(name string, h *tar.Header, r io.Reader) error {
	if u.live.Owner != nil {
		h.Uid, h.Gid = u.live.Owner[0], u.live.Owner[1]
	}
	if name == "" {
		return nil // the directory itself keeps what it has
	}
	if err := u.live.outward(h); err != nil {
		return err
	}
	name = u.live.name(name)
	dir, base := splitName(name)
	parent, err := u.parent(dir, 0)
	if err != nil {
		return err
	}
	return u.make(name, parent, base, h, r)
}

// FileInfo is what docker tells of a path in a container.
type FileInfo struct {
	Name   string // the last component
	Size   int64
	Mode   fs.FileMode
	Mtime  time.Time
	Target string // of a symlink: where it leads inside the container, as an absolute path; "" if it leads nowhere
}

// Stat describes a path in the root file system at root. A symlink is described itself unless the path ends in "/" or "/.".
func Stat(root, name string) (FileInfo, error) {
	fd, err := openRoot(root)
	if err != nil {
		return FileInfo{}, err
	}
	defer unix.Close(fd)
	f, st, err := openPath(fd, name)
	if err != nil {
		return FileInfo{}, fmt.Errorf("stat %q in container: %w", name, inContainer(err))
	}
	defer unix.Close(f)
	base := baseOf(name)
	i := FileInfo{Name: base, Size: st.Size, Mode: fileMode(st.Mode), Mtime: time.Unix(st.Mtim.Sec, st.Mtim.Nsec)}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		buf := make([]byte, unix.PathMax)
		if n, err := unix.Readlinkat(f, "", buf); err == nil {
			i.Target = string(buf[:n])
			if !strings.HasPrefix(i.Target, "/") {
				i.Target = path.Join(path.Dir(path.Clean("/"+name)), i.Target)
			}
			i.Target = path.Clean(i.Target)
		}
	}
	return i, nil
}

// Resolve is where the links on a path in the root file system at root lead: the absolute path, in there, of what is there at this moment.
// ErrNotFound if that is nothing.
func Resolve(root, name string) (string, error) {
	fd, err := openRoot(root)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	f, err := openIn(fd, cmp.Or(strings.TrimPrefix(path.Clean("/"+name), "/"), "."), unix.O_PATH, 0)
	if err != nil {
		return "", fmt.Errorf("find %q in container: %w", name, inContainer(err))
	}
	defer unix.Close(f)
	var at [2]string
	for i, fd := range []int{fd, f} {
		if at[i], err = os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); err != nil {
			return "", fmt.Errorf("find %q in container: %w", name, err)
		}
	}
	return path.Clean("/" + strings.TrimPrefix(at[1], at[0])), nil
}

// baseOf is the name by which clients know the thing at a path: its last component, "." where the path says so, "/" for the root.
func baseOf(name string) string {
	if bare := strings.TrimRight(name, "/"); bare == "." || strings.HasSuffix(bare, "/.") {
		return "."
	}
	return path.Base(path.Clean("/" + name))
}

// openPath opens a path below root as a handle, and says what it is.
func openPath(root int, name string) (int, *unix.Stat_t, error) {
	flags := uint64(unix.O_PATH)
	if !strings.HasSuffix(name, "/") && !strings.HasSuffix(name, "/.") {
		flags |= unix.O_NOFOLLOW
	}
	clean := strings.TrimPrefix(path.Clean("/"+name), "/")
	if clean == "" {
		clean = "."
	}
	fd, err := openIn(root, clean, flags, 0)
	if err != nil {
		return -1, nil, err
	}
	st := &unix.Stat_t{}
	if err := unix.Fstat(fd, st); err != nil {
		unix.Close(fd)
		return -1, nil, err
	}
	if flags&unix.O_NOFOLLOW == 0 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		unix.Close(fd)
		return -1, nil, unix.ENOTDIR
	}
	return fd, st, nil
}

func fileMode(m uint32) fs.FileMode {
	mode := fs.FileMode(m & 0o777)
	for bit, f := range map[uint32]fs.FileMode{unix.S_ISUID: fs.ModeSetuid, unix.S_ISGID: fs.ModeSetgid, unix.S_ISVTX: fs.ModeSticky} {
		if m&bit != 0 {
			mode |= f
		}
	}
	return mode | map[uint32]fs.FileMode{unix.S_IFDIR: fs.ModeDir, unix.S_IFLNK: fs.ModeSymlink, unix.S_IFIFO: fs.ModeNamedPipe, unix.S_IFSOCK: fs.ModeSocket,
		unix.S_IFCHR: fs.ModeDevice | fs.ModeCharDevice, unix.S_IFBLK: fs.ModeDevice}[m&unix.S_IFMT]
}

// ArchivePath writes the thing at a path in the root file system at root as an archive whose names begin with the path's last component (docker cp
// out of a container). A symlink is archived itself unless the path ends in "/" or "/.". owners is the user namespace that the files belong to.
// ErrNotFound if nothing is there.
func ArchivePath(ctx context.Context, w io.Writer, root, name string, owners idmap.Map) error {
	fd, err := openRoot(root)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	f, st, err := openPath(fd, name)
	if err != nil {
		return fmt.Errorf("copy %q out of container: %w", name, inContainer(err))
	}
	defer unix.Close(f)
	bw := bufio.NewWriterSize(w, 64<<10)
	a := &archiver{tw: tar.NewWriter(bw), seen: map[inode]string{}, buf: make([]byte, 128<<10), owners: owners}
	base := baseOf(name)
	if err := a.handle(ctx, fd, f, st, base, name); err != nil {
		return fmt.Errorf("copy %q out of container: %w", name, err)
	}
	if err := errors.Join(a.tw.Close(), bw.Flush()); err != nil {
		return fmt.Errorf("copy %q out of container: %w", name, err)
	}
	return nil
}

// handle archives what a handle holds: a directory with all below it, anything else by its name in its parent.
func (a *archiver) handle(ctx context.Context, root, f int, st *unix.Stat_t, base, name string) error {
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		fd, err := unix.Openat(f, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		prefix := strings.TrimSuffix(base, "/") + "/"
		uid, gid := a.owners.Inside(int(st.Uid), int(st.Gid))
		h := &tar.Header{Typeflag: tar.TypeDir, Name: prefix, Mode: int64(st.Mode & 0o7777), Uid: uid, Gid: gid, ModTime: time.Unix(st.Mtim.Sec, 0)}
		if err := a.tw.WriteHeader(h); err != nil {
			unix.Close(fd)
			return err
		}
		return a.dir(ctx, fd, prefix)
	}
	dir := strings.TrimPrefix(path.Dir(path.Clean("/"+name)), "/")
	if dir == "" {
		dir = "."
	}
	parent, err := openIn(root, dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	return a.entry(ctx, parent, base, base)
}
