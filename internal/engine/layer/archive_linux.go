package layer

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"nau/internal/kernel"
	"nau/internal/kernel/idmap"
)

// archiver writes a directory tree as a tar. Files are opened below descriptors and never followed, since whoever owns the tree may
// change it meanwhile: what is there when we look is what the archive gets.
type archiver struct {
	tw      *tar.Writer
	overlay bool // the tree is an overlayfs upper directory: whiteouts and opaque marks become the archive's own
	seen    map[inode]string
	buf     []byte
	owners  idmap.Map // of the user namespace that the tree belongs to: the archive gets the ids that are seen in there
}

type inode struct{ dev, ino uint64 }

// Archive writes the tree at root (a mounted container's, say), whose files belong to owners' user namespace, as an archive of names relative to it.
func Archive(ctx context.Context, w io.Writer, root string, owners idmap.Map) error {
	return archive(ctx, w, root, false, owners)
}

func archive(ctx context.Context, w io.Writer, root string, overlay bool, owners idmap.Map) error {
	fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", root, err)
	}
	bw := bufio.NewWriterSize(w, 64<<10)
	a := &archiver{tw: tar.NewWriter(bw), overlay: overlay, seen: map[inode]string{}, buf: make([]byte, 128<<10), owners: owners}
	if err := a.dir(ctx, fd, ""); err != nil {
		return err
	}
	if err := a.tw.Close(); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	if err := bw.Flush(); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	return nil
}

// dir writes what is in a directory, in the order of names, and closes it.
func (a *archiver) dir(ctx context.Context, fd int, prefix string) error {
	d := os.NewFile(uintptr(fd), prefix)
	defer d.Close()
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	names, err := d.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("read directory %q: %w", prefix, err)
	}
	slices.Sort(names)
	for _, n := range names {
		if err := a.entry(ctx, fd, n, prefix+n); err != nil {
			return fmt.Errorf("archive %q: %w", prefix+n, err)
		}
	}
	return nil
}

func (a *archiver) entry(ctx context.Context, parent int, base, name string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(parent, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return gone(err)
	}
	if a.overlay && isWhiteout(&st) {
		dir, _ := splitName(name)
		if dir != "" {
			dir += "/"
		}
		return a.tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: dir + whiteoutPrefix + base, Mode: 0o600, ModTime: time.Unix(st.Mtim.Sec, 0)})
	}
	uid, gid := a.owners.Inside(int(st.Uid), int(st.Gid))
	h := &tar.Header{Name: name, Mode: int64(st.Mode & 0o7777), Uid: uid, Gid: gid, ModTime: time.Unix(st.Mtim.Sec, st.Mtim.Nsec), Format: tar.FormatPAX}
	if st.Mtim.Nsec == 0 {
		h.Format = tar.FormatUnknown
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR && st.Nlink > 1 {
		id := inode{st.Dev, st.Ino}
		if first, ok := a.seen[id]; ok {
			h.Typeflag, h.Linkname = tar.TypeLink, first
			return a.tw.WriteHeader(h)
		}
		a.seen[id] = name
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return a.file(parent, base, h)
	case unix.S_IFDIR:
		return a.subdir(ctx, parent, base, h)
	case unix.S_IFLNK:
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(parent, base, buf)
		if err != nil {
			return gone(err)
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, string(buf[:n])
	case unix.S_IFCHR, unix.S_IFBLK:
		h.Typeflag = tar.TypeChar
		if st.Mode&unix.S_IFMT == unix.S_IFBLK {
			h.Typeflag = tar.TypeBlock
		}
		h.Devmajor, h.Devminor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	default:
		return nil // a socket means nothing without its process
	}
	return a.tw.WriteHeader(h)
}

// gone: what disappeared while we looked was never there.
func gone(err error) error {
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

func (a *archiver) subdir(ctx context.Context, parent int, base string, h *tar.Header) error {
	fd, err := openDir(parent, base)
	if err != nil {
		return gone(err)
	}
	h.Typeflag = tar.TypeDir
	h.Name += "/"
	if err := a.xattrs(fd, h); err != nil {
		unix.Close(fd)
		return err
	}
	if err := a.tw.WriteHeader(h); err != nil {
		unix.Close(fd)
		return err
	}
	if a.overlay && isOpaque(fd) {
		if err := a.tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: h.Name + whiteoutOpaque, Mode: 0o600, ModTime: h.ModTime.Truncate(time.Second)}); err != nil {
			unix.Close(fd)
			return err
		}
	}
	return a.dir(ctx, fd, h.Name)
}

func isOpaque(fd int) bool {
	var v [1]byte
	n, err := unix.Fgetxattr(fd, opaqueXattr, v[:])
	return err == nil && n == 1 && v[0] == 'y'
}

func (a *archiver) file(parent int, base string, h *tar.Header) error {
	fd, err := kernel.OpenFile(parent, base)
	if errors.Is(err, kernel.ErrNotFile) {
		return nil // became something else meanwhile
	}
	if err != nil {
		return gone(err)
	}
	f := os.NewFile(uintptr(fd), h.Name)
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	h.Typeflag, h.Size = tar.TypeReg, st.Size
	if err := a.xattrs(fd, h); err != nil {
		return err
	}
	if err := a.tw.WriteHeader(h); err != nil {
		return err
	}
	// A file that grows is cut, one that shrinks is filled up: the header has gone out.
	n, err := io.CopyBuffer(struct{ io.Writer }{a.tw}, io.LimitReader(f, h.Size), a.buf)
	if err != nil {
		return err
	}
	for n < h.Size {
		k := min(h.Size-n, int64(len(zeros)))
		if _, err := a.tw.Write(zeros[:k]); err != nil {
			return err
		}
		n += k
	}
	return nil
}

// xattrs takes what unpacking would set again.
func (a *archiver) xattrs(fd int, h *tar.Header) error {
	n, err := unix.Flistxattr(fd, nil)
	if err != nil || n == 0 {
		return nil // a file system without them
	}
	list := make([]byte, n)
	if n, err = unix.Flistxattr(fd, list); err != nil {
		return nil
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list[:n]), "\x00"), "\x00") {
		if a.overlay && (name == "trusted.overlay.redirect" || name == "trusted.overlay.metacopy") {
			return fmt.Errorf("upper directory was mounted with %s: its content lies elsewhere", strings.TrimPrefix(name, "trusted.overlay."))
		}
		if !wantedXattr(name) {
			continue
		}
		v := make([]byte, 64<<10)
		k, err := unix.Fgetxattr(fd, name, v)
		if err != nil {
			continue
		}
		value, ok := a.xattr(name, v[:k])
		if !ok {
			continue
		}
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.Format = tar.FormatPAX
		h.PAXRecords[xattrRecord+name] = value
	}
	return nil
}
