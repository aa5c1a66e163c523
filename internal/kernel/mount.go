package kernel

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Tree is a detached mount, held by a descriptor. It is seen by nobody until it is attached, and goes away when it is
// closed unattached.
type Tree struct{ fd int }

// TreeOf takes over a descriptor of a detached mount that another process made.
func TreeOf(fd int) *Tree { return &Tree{fd} }

// Fd is the descriptor: a directory handle of the mount's root.
func (t *Tree) Fd() int { return t.fd }

// Close lets the tree go.
func (t *Tree) Close() error {
	if t == nil || t.fd < 0 {
		return nil
	}
	fd := t.fd
	t.fd = -1
	return unix.Close(fd)
}

// Param is one parameter of a new file system. A Flag has no value; a value longer than a mount option may be is fine.
type Param struct {
	Key, Value string
	Flag       bool
}

// Filesystem is a file system that is made but not mounted yet.
type Filesystem struct {
	fd     int
	fstype string
}

// MakeFilesystem makes a file system of the given type. The kernel's own message, if it gives one, is in the error.
func MakeFilesystem(fstype, source string, params ...Param) (*Filesystem, error) {
	fd, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open file system %s: %w", fstype, err)
	}
	f := &Filesystem{fd, fstype}
	fail := func(verb string, err error) (*Filesystem, error) {
		err = fsError(fd, verb, fstype, err)
		f.Close()
		return nil, err
	}
	if source != "" {
		if err := unix.FsconfigSetString(fd, "source", source); err != nil {
			return fail("set source of", err)
		}
	}
	for _, p := range params {
		if p.Flag {
			err = unix.FsconfigSetFlag(fd, p.Key)
		} else {
			err = unix.FsconfigSetString(fd, p.Key, p.Value)
		}
		if err != nil {
			return fail("set option "+p.Key+" of", err)
		}
	}
	if err := unix.FsconfigCreate(fd); err != nil {
		return fail("create file system", err)
	}
	return f, nil
}

// Mount mounts it, detached, once. attrs are MOUNT_ATTR_ bits.
func (f *Filesystem) Mount(attrs int) (*Tree, error) {
	fd, err := unix.Fsmount(f.fd, unix.FSMOUNT_CLOEXEC, attrs)
	if err != nil {
		return nil, fsError(f.fd, "mount file system", f.fstype, err)
	}
	return &Tree{fd}, nil
}

// Close lets it go; a mount of it stays. Nil and closed ones are fine.
func (f *Filesystem) Close() {
	if f != nil && f.fd >= 0 {
		_ = unix.Close(f.fd)
		f.fd = -1
	}
}

// NewFilesystem is MakeFilesystem and Mount in one.
func NewFilesystem(fstype, source string, attrs int, params ...Param) (*Tree, error) {
	f, err := MakeFilesystem(fstype, source, params...)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Mount(attrs)
}

// fsError adds what the kernel wrote into the context's log.
func fsError(fs int, verb, fstype string, err error) error {
	buf := make([]byte, 512)
	var said []string
	for len(said) < 8 {
		n, e := unix.Read(fs, buf)
		if e != nil || n <= 2 {
			break
		}
		said = append(said, strings.TrimSpace(string(buf[2:n])))
	}
	if len(said) > 0 {
		return fmt.Errorf("%s %s: %w (%s)", verb, fstype, err, strings.Join(said, "; "))
	}
	return fmt.Errorf("%s %s: %w", verb, fstype, err)
}

// CloneTree makes a detached copy (a bind mount) of what lies at path below dir; unix.AT_FDCWD and an absolute path, or a
// descriptor and "". recursive copies the mounts below too.
func CloneTree(dir int, path string, recursive bool) (*Tree, error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	if path == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	fd, err := unix.OpenTree(dir, path, flags)
	if err != nil {
		return nil, fmt.Errorf("clone mount %s: %w", path, err)
	}
	return &Tree{fd}, nil
}

// Attr changes a mount: MOUNT_ATTR_ bits to set and clear, a propagation (unix.MS_PRIVATE, …; 0 keeps it), and a user
// namespace whose mapping the mount's owners are shown through (0: none).
type Attr struct {
	Set, Clear  uint64
	Propagation uint64
	UserNS      int
	Recursive   bool
}

// SetAttr changes the tree before or after it is attached.
func (t *Tree) SetAttr(a Attr) error { return SetMountAttr(t.fd, "", a) }

// SetMountAttr changes the mount at path below dir ("": dir itself).
func SetMountAttr(dir int, path string, a Attr) error {
	flags := uint(0)
	if path == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	if a.Recursive {
		flags |= unix.AT_RECURSIVE
	}
	attr := &unix.MountAttr{Attr_set: a.Set, Attr_clr: a.Clear, Propagation: a.Propagation}
	// The access-time choice is a field of its own: to set one, the whole field must be cleared.
	if a.Set&(unix.MOUNT_ATTR__ATIME) != 0 || a.Clear&unix.MOUNT_ATTR__ATIME != 0 {
		attr.Attr_clr |= unix.MOUNT_ATTR__ATIME
	}
	if a.UserNS > 0 {
		attr.Attr_set |= unix.MOUNT_ATTR_IDMAP
		attr.Userns_fd = uint64(a.UserNS)
	}
	if err := unix.MountSetattr(dir, path, flags, attr); err != nil {
		return fmt.Errorf("set mount attributes: %w", err)
	}
	return nil
}

// Attach shows the tree at the place that at names: a descriptor of the target itself (from OpenInRoot, say). The tree's
// descriptor stays good.
func (t *Tree) Attach(at int) error {
	err := unix.MoveMount(t.fd, "", at, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	if err != nil {
		return fmt.Errorf("attach mount: %w", err)
	}
	return nil
}

// AttachPath is Attach for a path of the calling thread's own root; a link as its last part is not followed.
func (t *Tree) AttachPath(path string) error {
	if err := unix.MoveMount(t.fd, "", unix.AT_FDCWD, path, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("attach mount at %s: %w", path, err)
	}
	return nil
}

// Unmount detaches the mount at path, lazily; a path that is no mount point or does not exist is fine.
func Unmount(path string) error {
	err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err == nil || err == unix.EINVAL || err == unix.ENOENT {
		return nil
	}
	// Who may not unmount is told so before the kernel looks for a mount.
	if err == unix.EPERM && !mountPoint(path) {
		return nil
	}
	return fmt.Errorf("unmount %s: %w", path, err)
}

// MountID is the number of the mount that path below dir ("": dir itself) leads to, where the kernel has them one that is never given again.
func MountID(dir int, path string) (uint64, error) {
	flags := 0
	if path == "" {
		flags = unix.AT_EMPTY_PATH
	}
	var st unix.Statx_t
	if err := unix.Statx(dir, path, flags, unix.STATX_MNT_ID_UNIQUE, &st); err != nil {
		return 0, fmt.Errorf("stat mount %s: %w", path, err)
	}
	if st.Mask&unix.STATX_MNT_ID_UNIQUE != 0 {
		return st.Mnt_id, nil
	}
	if err := unix.Statx(dir, path, flags, unix.STATX_MNT_ID, &st); err != nil {
		return 0, fmt.Errorf("stat mount %s: %w", path, err)
	}
	return st.Mnt_id, nil
}

// mountPoint tells whether something is mounted at path; where that cannot be
// asked, it counts as yes.
func mountPoint(path string) bool {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, 0, &st); err != nil {
		return err != unix.ENOENT
	}
	return st.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT == 0 || st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// BindAt binds source over target, privately.
func BindAt(source, target string, recursive, readonly bool) error {
	tree, err := CloneTree(unix.AT_FDCWD, source, recursive)
	if err != nil {
		return err
	}
	defer tree.Close()
	attr := Attr{Propagation: unix.MS_PRIVATE, Recursive: recursive}
	if readonly {
		attr.Set = unix.MOUNT_ATTR_RDONLY
	}
	if err := tree.SetAttr(attr); err != nil {
		return err
	}
	return tree.AttachPath(target)
}

// MountTmpfs mounts a tmpfs at target. size is in bytes, 0 the kernel's default (half of memory).
func MountTmpfs(target, source string, size int64, mode os.FileMode, attrs int) error {
	params := []Param{{Key: "mode", Value: fmt.Sprintf("%04o", mode.Perm())}}
	if mode&os.ModeSticky != 0 {
		params[0].Value = fmt.Sprintf("1%03o", mode.Perm())
	}
	if size > 0 {
		params = append(params, Param{Key: "size", Value: fmt.Sprint(size)})
	}
	tree, err := NewFilesystem("tmpfs", source, attrs, params...)
	if err != nil {
		return err
	}
	defer tree.Close()
	return tree.AttachPath(target)
}
