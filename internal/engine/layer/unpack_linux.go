package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"sort"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The names of OCI image-spec, layer.md, "Whiteouts".
const (
	whiteoutPrefix = ".wh."
	whiteoutMeta   = ".wh..wh."
	whiteoutOpaque = ".wh..wh..opq"
	xattrRecord    = "SCHILY.xattr."
	opaqueXattr    = "trusted.overlay.opaque"
)

// unpacked is what an archive turned into.
type unpacked struct {
	size    int64    // bytes of file content
	entries int64    // things made, whiteouts included
	disk    int64    // bytes of disk blocks, unless recount
	recount bool     // something was removed again, or has attributes that may take blocks: disk must be counted anew
	implied []string // directories that the archive used but did not describe
}

// unpacker writes one archive below one directory. Every name is resolved by the kernel with RESOLVE_IN_ROOT against that directory, one
// parent directory at a time; the last component is never followed. No path is ever joined to a host path.
type unpacker struct {
	root    int // descriptor of the directory
	limits  Limits
	entries int64
	bytes   int64
	since   int64 // bytes since the file system's free space was looked at
	out     unpacked
	live    *live // unpacks into a root file system in use, not into a layer

	parents map[string]int // resolved parent directories, by clean archive path
	times   map[string]dirTime
	implied map[string]struct{}
	counted map[uint64]struct{} // directories whose blocks are counted, by inode
	buf     []byte
}

type dirTime struct{ atime, mtime unix.Timespec }

const (
	maxParents = 64
	// maxDepth bounds the components of a name: every name costs the kernel a walk of that many.
	maxDepth = 256
)

func newUnpacker(root int, limits Limits) *unpacker {
	return &unpacker{root: root, limits: limits, parents: map[string]int{}, times: map[string]dirTime{}, implied: map[string]struct{}{}, counted: map[uint64]struct{}{}}
}

func (u *unpacker) close() { u.forget() }

// forget drops all resolved parents: after anything was removed, a name may mean something else.
func (u *unpacker) forget() {
	for p, fd := range u.parents {
		unix.Close(fd)
		delete(u.parents, p)
	}
}

// unpack reads an uncompressed archive to its end.
func (u *unpacker) unpack(ctx context.Context, r io.Reader) (unpacked, error) {
	defer u.close()
	u.buf = *chunkPool.Get().(*[]byte)
	defer func() { chunkPool.Put(&u.buf) }()
	tr := tar.NewReader(r)
	for {
		if err := ctx.Err(); err != nil {
			return u.out, context.Cause(ctx)
		}
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return u.out, archiveError("read entry", err)
		}
		if u.entries++; u.entries > u.limits.Entries {
			return u.out, fmt.Errorf("%w: more than %d entries", ErrLimit, u.limits.Entries)
		}
		if err := u.entry(h, tr); err != nil {
			return u.out, fmt.Errorf("unpack %q: %w", h.Name[:min(len(h.Name), 200)], err)
		}
	}
	if err := u.setTimes(); err != nil {
		return u.out, err
	}
	for p := range u.implied {
		u.out.implied = append(u.out.implied, p)
		if fd, err := u.resolve(p); err == nil {
			u.countDir(fd, ".")
			unix.Close(fd)
		}
	}
	sort.Strings(u.out.implied)
	return u.out, nil
}

// archiveError tells the archive's faults from the world's.
func archiveError(what string, err error) error {
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, tar.ErrFieldTooLong) || errors.Is(err, tar.ErrInsecurePath) {
		return fmt.Errorf("%s: %w: %w", what, ErrArchive, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// hostile wraps the kernel's answers that only a bad archive can cause.
func hostile(op string, err error) error {
	switch {
	case errors.Is(err, unix.ENAMETOOLONG), errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.EINVAL),
		errors.Is(err, unix.EXDEV), errors.Is(err, unix.ENOENT), errors.Is(err, unix.EISDIR), errors.Is(err, unix.EMLINK):
		return fmt.Errorf("%s: %w: %w", op, ErrArchive, err)
	}
	return fmt.Errorf("%s: %w", op, err)
}

// within resolves the ".." of a name that stays inside, where that is allowed.
func (u *unpacker) within(name string) string {
	if u.live == nil || !u.live.Dots {
		return name
	}
	if clean := path.Clean(name); clean != ".." && !strings.HasPrefix(clean, "../") {
		return clean
	}
	return name
}

// cleanName makes an archive's name relative to the root: "", "a", "a/b". A name with ".." is refused, no honest archive has one.
func cleanName(name string) (string, error) {
	if strings.IndexByte(name, 0) >= 0 {
		return "", fmt.Errorf("%w: NUL in a name", ErrArchive)
	}
	depth := 0
	for rest := name; rest != ""; depth++ {
		var c string
		c, rest, _ = strings.Cut(rest, "/")
		if c == ".." {
			return "", fmt.Errorf("%w: name leads out of the layer", ErrArchive)
		}
	}
	if depth > maxDepth {
		return "", fmt.Errorf("%w: name of %d components", ErrLimit, depth)
	}
	return strings.TrimPrefix(path.Clean("/"+name), "/"), nil
}

func splitName(name string) (dir, base string) {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[:i], name[i+1:]
	}
	return "", name
}

func (u *unpacker) entry(h *tar.Header, r io.Reader) error {
	switch h.Typeflag {
	case tar.TypeXGlobalHeader:
		return nil
	case tar.TypeReg, tar.TypeRegA, tar.TypeCont, tar.TypeGNUSparse, tar.TypeDir, tar.TypeLink, tar.TypeSymlink, tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
	default:
		return fmt.Errorf("%w: entry of unknown type %q", ErrArchive, h.Typeflag)
	}
	if h.Uid < 0 || int64(h.Uid) >= 1<<32-1 || h.Gid < 0 || int64(h.Gid) >= 1<<32-1 {
		return fmt.Errorf("%w: owner %d:%d", ErrArchive, h.Uid, h.Gid)
	}
	name, err := cleanName(u.within(h.Name))
	if err != nil {
		return err
	}
	if u.live != nil {
		return u.liveEntry(name, h, r)
	}
	if name == "" {
		if h.Typeflag != tar.TypeDir {
			return fmt.Errorf("%w: the root is not a directory", ErrArchive)
		}
		return u.describeDir("", u.root, h)
	}
	dir, base := splitName(name)
	if strings.HasPrefix(base, whiteoutMeta) && base != whiteoutOpaque {
		return nil // aufs' own bookkeeping
	}
	parent, err := u.parent(dir, 0)
	if err != nil {
		return err
	}
	if strings.HasPrefix(base, whiteoutPrefix) {
		return u.whiteout(parent, base)
	}
	return u.make(name, parent, base, h, r)
}

// make makes one thing that is no whiteout.
func (u *unpacker) make(name string, parent int, base string, h *tar.Header, r io.Reader) error {
	switch h.Typeflag {
	case tar.TypeDir:
		return u.dir(name, parent, base, h)
	case tar.TypeLink:
		return u.link(parent, base, h)
	case tar.TypeSymlink:
		if h.Linkname == "" || strings.IndexByte(h.Linkname, 0) >= 0 {
			return fmt.Errorf("%w: bad symlink target", ErrArchive)
		}
		err := u.replacing(parent, base, func() error { return unix.Symlinkat(h.Linkname, parent, base) })
		if err != nil {
			return hostile("make symlink", err)
		}
		u.out.entries++
		return u.describeAt(parent, base, h, 0)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return u.node(parent, base, h)
	}
	return u.file(parent, base, h, r)
}

// parent resolves a directory inside the layer, making what is missing; depth counts the symlinks followed on the way.
func (u *unpacker) parent(dir string, depth int) (int, error) {
	if dir == "" {
		return u.root, nil
	}
	if fd, ok := u.parents[dir]; ok {
		return fd, nil
	}
	if depth > 40 {
		return -1, fmt.Errorf("%w: too many symlinks", ErrArchive)
	}
	fd, err := u.resolve(dir)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		if err = u.imply(dir, depth); err != nil {
			return -1, err
		}
		fd, err = u.resolve(dir)
	}
	if err != nil {
		return -1, hostile("open parent", err)
	}
	if len(u.parents) >= maxParents {
		u.forget()
	}
	u.parents[dir] = fd
	return fd, nil
}

// resolve opens a directory below root; symlinks on the way stay below root.
func resolve(root int, dir string) (int, error) {
	return openIn(root, dir, unix.O_PATH|unix.O_DIRECTORY, unix.RESOLVE_NO_XDEV)
}

// resolve opens a directory of the tree that is being unpacked into. A container's root has mounts, a layer has none.
func (u *unpacker) resolve(dir string) (int, error) {
	if u.live != nil {
		return openIn(u.root, dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	}
	return resolve(u.root, dir)
}

func openIn(root int, dir string, flags, more uint64) (int, error) {
	how := &unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | more}
	for {
		fd, err := unix.Openat2(root, dir, how)
		if err != unix.EINTR && err != unix.EAGAIN {
			return fd, err
		}
	}
}

// imply makes a directory that the archive uses before it describes it, or never describes.
func (u *unpacker) imply(dir string, depth int) error {
	up, base := splitName(dir)
	parent, err := u.parent(up, depth)
	if err != nil {
		return err
	}
	err = unix.Mkdirat(parent, base, 0o755)
	if err == nil {
		if err := chmodAt(parent, base, unix.S_IFDIR, 0o755); err != nil {
			return hostile("make directory", err)
		}
		u.implied[dir] = struct{}{}
		u.out.entries++
		return u.give(parent, base)
	}
	if !errors.Is(err, unix.EEXIST) {
		return hostile("make directory", err)
	}
	var st unix.Stat_t
	if err := unix.Fstatat(parent, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return hostile("stat", err)
	}
	switch {
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return nil
	case isWhiteout(&st): // deleted below, and made anew: nothing of the lower directory shows
		if err := unix.Unlinkat(parent, base, 0); err != nil {
			return hostile("remove whiteout", err)
		}
		if err := unix.Mkdirat(parent, base, 0o755); err != nil {
			return hostile("make directory", err)
		}
		u.implied[dir] = struct{}{}
		u.out.recount = true
		return setOpaque(parent, base)
	case st.Mode&unix.S_IFMT == unix.S_IFLNK: // a symlink to a directory that only lower layers have: make it, as the merged view has it
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(parent, base, buf)
		if err != nil {
			return hostile("read symlink", err)
		}
		target := string(buf[:n])
		if !strings.HasPrefix(target, "/") {
			target = up + "/" + target
		}
		target = strings.TrimPrefix(path.Clean("/"+target), "/")
		if target == dir {
			return fmt.Errorf("%w: symlink to itself", ErrArchive)
		}
		_, err = u.parent(target, depth+1)
		return err
	}
	return fmt.Errorf("make directory: %w: %q is not a directory", ErrArchive, base)
}

func isWhiteout(st *unix.Stat_t) bool {
	return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
}

// replacing calls make, and once more after removing what stands in the way.
func (u *unpacker) replacing(parent int, base string, make func() error) error {
	err := make()
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	if err := u.removeAt(parent, base); err != nil {
		return err
	}
	return make()
}

// removeAt removes base, and all below it if it is a directory.
func (u *unpacker) removeAt(parent int, base string) error {
	u.forgetBut(parent)
	u.out.recount = true
	err := unix.Unlinkat(parent, base, 0)
	if !errors.Is(err, unix.EISDIR) {
		return err
	}
	if u.live != nil && !u.live.Overwrite {
		return fmt.Errorf("%w: cannot overwrite directory %q with non-directory", ErrExists, base)
	}
	return removeTree(parent, base)
}

// forgetBut drops resolved parents except the one in use now.
func (u *unpacker) forgetBut(keep int) {
	for p, fd := range u.parents {
		if fd != keep {
			unix.Close(fd)
			delete(u.parents, p)
		}
	}
}

// whiteout turns a whiteout entry into what overlayfs understands.
func (u *unpacker) whiteout(parent int, base string) error {
	if base == whiteoutOpaque {
		u.out.recount = true
		return setOpaqueFd(parent)
	}
	name := base[len(whiteoutPrefix):]
	if name == "" || name == "." || name == ".." {
		return fmt.Errorf("%w: whiteout of nothing", ErrArchive)
	}
	err := unix.Mknodat(parent, name, unix.S_IFCHR, 0)
	if errors.Is(err, unix.EEXIST) {
		// This layer made the name itself. A whiteout speaks of lower layers only: a directory of ours stays, and hides theirs.
		var st unix.Stat_t
		if err := unix.Fstatat(parent, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return hostile("stat", err)
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			u.out.recount = true
			return setOpaque(parent, name)
		}
		return nil
	}
	if err != nil {
		return hostile("make whiteout", err)
	}
	u.out.entries++
	return nil
}

func setOpaque(parent int, base string) error {
	fd, err := unix.Openat(parent, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return hostile("open directory", err)
	}
	defer unix.Close(fd)
	if err := unix.Fsetxattr(fd, opaqueXattr, []byte("y"), 0); err != nil {
		return fmt.Errorf("mark directory opaque: %w", err)
	}
	return nil
}

func setOpaqueFd(parent int) error {
	fd, err := unix.Openat(parent, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return hostile("open directory", err)
	}
	defer unix.Close(fd)
	if err := unix.Fsetxattr(fd, opaqueXattr, []byte("y"), 0); err != nil {
		return fmt.Errorf("mark directory opaque: %w", err)
	}
	return nil
}

func (u *unpacker) dir(name string, parent int, base string, h *tar.Header) error {
	opaque := false
	err := unix.Mkdirat(parent, base, 0o700)
	if errors.Is(err, unix.EEXIST) {
		var st unix.Stat_t
		if err := unix.Fstatat(parent, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return hostile("stat", err)
		}
		err = nil
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			if u.live != nil && !u.live.Overwrite {
				return fmt.Errorf("%w: cannot overwrite non-directory %q with directory", ErrExists, base)
			}
			opaque = u.live == nil && isWhiteout(&st)
			u.out.recount = true
			if err := unix.Unlinkat(parent, base, 0); err != nil {
				return hostile("remove", err)
			}
			u.forgetBut(parent)
			err = unix.Mkdirat(parent, base, 0o700)
		}
	}
	if err != nil {
		return hostile("make directory", err)
	}
	fd, err := unix.Openat(parent, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return hostile("open directory", err)
	}
	defer unix.Close(fd)
	if opaque {
		if err := unix.Fsetxattr(fd, opaqueXattr, []byte("y"), 0); err != nil {
			return fmt.Errorf("mark directory opaque: %w", err)
		}
	}
	delete(u.implied, name)
	u.out.entries++
	return u.describeDir(name, fd, h)
}

// describeDir gives an open directory its attributes; its times come last of all, since making entries in it changes them.
func (u *unpacker) describeDir(name string, fd int, h *tar.Header) error {
	if name == "" { // the root's descriptor is O_PATH
		own, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open root: %w", err)
		}
		defer unix.Close(own)
		fd = own
	}
	if _, err := u.describeFd(fd, h); err != nil {
		return err
	}
	u.times[name] = timesOf(h)
	return nil
}

// describeFd sets owner, extended attributes and mode, in this order: a change of owner clears capabilities and set-id bits. What is right already is
// not set: looking costs less than a change, which the file system writes down. It answers the bytes of disk blocks.
func (u *unpacker) describeFd(fd int, h *tar.Header) (int64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, fmt.Errorf("stat: %w", err)
	}
	own := st.Uid == uint32(h.Uid) && st.Gid == uint32(h.Gid)
	if !own {
		if err := unix.Fchown(fd, h.Uid, h.Gid); err != nil {
			return 0, fmt.Errorf("set owner: %w", err)
		}
	}
	for k, v := range h.PAXRecords {
		name, ok := strings.CutPrefix(k, xattrRecord)
		if !ok || !wantedXattr(name) {
			continue
		}
		if err := unix.Fsetxattr(fd, name, []byte(v), 0); err != nil && !xattrUnsupported(err) {
			return 0, fmt.Errorf("set attribute %q: %w", name, err)
		}
		u.out.recount = true
	}
	if mode := uint32(h.Mode) & 0o7777; !own || st.Mode&0o7777 != mode {
		if err := unix.Fchmod(fd, mode); err != nil {
			return 0, fmt.Errorf("set mode: %w", err)
		}
	}
	return st.Blocks * 512, nil
}

// wantedXattr: overlayfs' own attributes in an archive would redirect or hide what lower layers have, and labels of the machine that built
// the image mean nothing here.
func wantedXattr(name string) bool {
	switch {
	case name == "security.capability":
		return true
	case strings.HasPrefix(name, "user.overlay."):
		return false
	}
	return strings.HasPrefix(name, "user.")
}

func xattrUnsupported(err error) bool {
	return errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EPERM)
}

func timesOf(h *tar.Header) dirTime {
	m := timespec(h.ModTime)
	a := m
	if !h.AccessTime.IsZero() {
		a = timespec(h.AccessTime)
	}
	return dirTime{a, m}
}

func timespec(t time.Time) unix.Timespec {
	if t.IsZero() {
		return unix.Timespec{}
	}
	return unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
}

func (u *unpacker) setTimes() error {
	names := make([]string, 0, len(u.times))
	for n := range u.times {
		names = append(names, n)
	}
	sort.Sort(sort.Reverse(sort.StringSlice(names)))
	for _, n := range names {
		t := u.times[n]
		ts := []unix.Timespec{t.atime, t.mtime}
		dir, base := splitName(n)
		if n == "" {
			base = "."
		}
		// Something else may stand there by now, or nothing.
		fd := u.root
		if dir != "" {
			var err error
			if fd, err = u.resolve(dir); err != nil {
				continue
			}
		}
		err := unix.UtimesNanoAt(fd, base, ts, unix.AT_SYMLINK_NOFOLLOW)
		if n != "" {
			u.countDir(fd, base)
		}
		if dir != "" {
			unix.Close(fd)
		}
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) {
			return fmt.Errorf("set times of %q: %w", n, err)
		}
	}
	return nil
}

// countDir counts a directory's own blocks, once all is in it. If it is not there any more, a recount is due anyway.
func (u *unpacker) countDir(parent int, base string) {
	var st unix.Stat_t
	if unix.Fstatat(parent, base, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return
	}
	if _, twice := u.counted[st.Ino]; !twice { // by another name, through a symlink
		u.counted[st.Ino] = struct{}{}
		u.out.disk += st.Blocks * 512
	}
}

func (u *unpacker) link(parent int, base string, h *tar.Header) error {
	target, err := cleanName(h.Linkname)
	if err != nil {
		return err
	}
	if u.live != nil {
		target = u.live.name(target)
	}
	if target == "" {
		return fmt.Errorf("%w: hard link to the root", ErrArchive)
	}
	tdir, tbase := splitName(target)
	tparent := u.root
	if tdir != "" {
		if tparent, err = u.resolve(tdir); err != nil {
			return hostile("open hard link's target", err)
		}
		defer unix.Close(tparent)
	}
	var st unix.Stat_t
	if err := unix.Fstatat(tparent, tbase, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return hostile("open hard link's target", err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return fmt.Errorf("%w: hard link to a directory", ErrArchive)
	}
	err = unix.Linkat(tparent, tbase, parent, base, 0)
	if errors.Is(err, unix.EEXIST) {
		var own unix.Stat_t
		if unix.Fstatat(parent, base, &own, unix.AT_SYMLINK_NOFOLLOW) == nil && own.Ino == st.Ino && own.Dev == st.Dev {
			return nil // a link to itself
		}
		// Removing a directory may take the target with it: then the second try says so.
		err = u.replacing(parent, base, func() error { return unix.Linkat(tparent, tbase, parent, base, 0) })
	}
	if err != nil {
		return hostile("make hard link", err)
	}
	u.out.entries++
	return nil
}

func (u *unpacker) node(parent int, base string, h *tar.Header) error {
	mode := map[byte]uint32{tar.TypeChar: unix.S_IFCHR, tar.TypeBlock: unix.S_IFBLK, tar.TypeFifo: unix.S_IFIFO}[h.Typeflag]
	var dev uint64
	if h.Typeflag != tar.TypeFifo {
		if h.Devmajor < 0 || h.Devmajor >= 1<<12 || h.Devminor < 0 || h.Devminor >= 1<<20 {
			return fmt.Errorf("%w: device %d:%d", ErrArchive, h.Devmajor, h.Devminor)
		}
		dev = unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))
	}
	err := u.replacing(parent, base, func() error { return unix.Mknodat(parent, base, mode|0o600, int(dev)) })
	if err != nil {
		return hostile("make device", err)
	}
	u.out.entries++
	return u.describeAt(parent, base, h, mode)
}

// describeAt gives attributes to something that cannot be opened: symlinks, whose kind is 0 here since they have no mode, and devices.
func (u *unpacker) describeAt(parent int, base string, h *tar.Header, kind uint32) error {
	if err := unix.Fchownat(parent, base, h.Uid, h.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set owner: %w", err)
	}
	if kind != 0 {
		if err := chmodAt(parent, base, kind, uint32(h.Mode)&0o7777); err != nil {
			return fmt.Errorf("set mode: %w", err)
		}
	}
	t := timesOf(h)
	if err := unix.UtimesNanoAt(parent, base, []unix.Timespec{t.atime, t.mtime}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set times: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Fstatat(parent, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("stat: %w", err)
	}
	u.out.disk += st.Blocks * 512
	return nil
}

func (u *unpacker) file(parent int, base string, h *tar.Header, r io.Reader) error {
	if h.Size < 0 || u.bytes+h.Size > u.limits.Bytes || u.bytes+h.Size < 0 {
		return fmt.Errorf("%w: more than %d bytes", ErrLimit, u.limits.Bytes)
	}
	u.bytes += h.Size
	mode := uint32(h.Mode) & 0o777
	if u.live != nil {
		mode = 0o600 // others may look on: what a file's owner is comes first
	}
	var fd int
	err := u.replacing(parent, base, func() (err error) {
		fd, err = unix.Openat(parent, base, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
		return err
	})
	if err != nil {
		return hostile("make file", err)
	}
	defer unix.Close(fd)
	if err := u.fill(fd, h.Size, r); err != nil {
		return err
	}
	disk, err := u.describeFd(fd, h)
	if err != nil {
		return err
	}
	t := timesOf(h)
	if err := futimens(fd, t); err != nil {
		return fmt.Errorf("set times: %w", err)
	}
	u.out.entries++
	u.out.disk += disk
	u.out.size += h.Size
	return nil
}

// fill copies a file's content. Whole buffers of zeros become holes.
func (u *unpacker) fill(fd int, size int64, r io.Reader) error {
	var done int64
	hole := false
	for done < size {
		b := u.buf
		if int64(len(b)) > size-done {
			b = b[:size-done]
		}
		if _, err := io.ReadFull(r, b); err != nil {
			return archiveError("read content", err)
		}
		if len(b) >= 64<<10 && zero(b) {
			hole = true
			done += int64(len(b))
			continue
		}
		for p, at := b, done; len(p) > 0; {
			n, err := unix.Pwrite(fd, p, at)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return fmt.Errorf("write content: %w", err)
			}
			p, at = p[n:], at+int64(n)
		}
		hole = false
		done += int64(len(b))
		if err := u.spend(int64(len(b))); err != nil {
			return err
		}
	}
	if hole {
		if err := unix.Ftruncate(fd, size); err != nil {
			return fmt.Errorf("write content: %w", err)
		}
	}
	return nil
}

// spend looks at the free space now and then: a bomb ends in a clean error before the disk is full.
func (u *unpacker) spend(n int64) error {
	if u.since += n; u.since < 64<<20 {
		return nil
	}
	u.since = 0
	var st unix.Statfs_t
	if err := unix.Fstatfs(u.root, &st); err != nil {
		return nil
	}
	if int64(st.Bavail)*st.Bsize < u.limits.Reserve {
		return fmt.Errorf("%w: less than %d bytes free: %w", ErrLimit, u.limits.Reserve, unix.ENOSPC)
	}
	return nil
}

var zeros [4096]byte

func zero(b []byte) bool {
	for len(b) >= len(zeros) {
		if !bytes.Equal(b[:len(zeros)], zeros[:]) {
			return false
		}
		b = b[len(zeros):]
	}
	return bytes.Equal(b, zeros[:len(b)])
}
