package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"nau/internal/kernel"
)

// Assemble puts the tree together. It must run on a locked thread inside the container's namespaces, whose root is still
// the host's tree. Afterwards the container's root is mounted over the root, and Enter makes it the root.
func (r *Root) Assemble() error {
	if err := r.place(); err != nil {
		return err
	}
	unix.Umask(0)
	for i, m := range r.mounts {
		if err := take(r.mounts[i:]); err != nil {
			return err
		}
		if err := r.attach(m); err != nil {
			return fmt.Errorf("mount %s: %w", m.spec.Destination, err)
		}
	}
	if r.wantsDevices() {
		if err := r.devices(); err != nil {
			return err
		}
	}
	return r.bindConsole()
}

// place mounts the tree where it can be mounted on: over the root, or on the host over its own folder.
func (r *Root) place() error {
	if r.cfg.HostMounts {
		if err := r.tree.Attach(r.folder); err != nil {
			return err
		}
		// A mount made below a shared one is shared too. What follows is mounted in this namespace alone.
		return r.tree.SetAttr(kernel.Attr{Propagation: unix.MS_PRIVATE, Recursive: true})
	}
	propagation := uint64(unix.MS_SLAVE)
	if l := r.cfg.Spec.Linux; l != nil {
		switch strings.TrimPrefix(l.RootfsPropagation, "r") {
		case "private":
			propagation = unix.MS_PRIVATE
		case "shared":
			propagation = unix.MS_SLAVE // of the old tree, which goes away; the root's own is set at the end
		}
	}
	// Nothing done to the old tree may reach the host, not even its unmounting.
	if err := kernel.SetMountAttr(unix.AT_FDCWD, "/", kernel.Attr{Propagation: propagation, Recursive: true}); err != nil {
		return fmt.Errorf("detach from the host's mounts: %w", err)
	}
	return r.tree.AttachPath("/")
}

// Finish masks paths and makes paths and the root read-only.
func (r *Root) Finish() error {
	l := r.cfg.Spec.Linux
	if l != nil {
		for _, p := range l.ReadonlyPaths {
			if err := r.readonly(p); err != nil {
				return fmt.Errorf("make %s read-only: %w", p, err)
			}
		}
		for _, p := range l.MaskedPaths {
			if err := r.maskPath(p); err != nil {
				return fmt.Errorf("mask %s: %w", p, err)
			}
		}
	}
	if r.cfg.Spec.Root.Readonly {
		if err := r.tree.SetAttr(kernel.Attr{Set: unix.MOUNT_ATTR_RDONLY}); err != nil {
			return fmt.Errorf("make root read-only: %w", err)
		}
	}
	return nil
}

// Entered tells whether Enter changes the root of processes that are there already. If not, each has to enter the tree by its descriptor.
func (c *Config) Entered() bool { return !c.NoPivot && !c.HostMounts }

// Enter makes the tree the root of the calling thread, and of all processes of the mount namespace if it can, and lets the old one go.
func (r *Root) Enter() error {
	if err := unix.Fchdir(r.tree.Fd()); err != nil {
		return fmt.Errorf("enter root: %w", err)
	}
	if !r.cfg.Entered() {
		if !r.cfg.HostMounts {
			// For a host whose root is the initial ramfs, which cannot be pivoted away. The tree lies over the root already.
			if err := leaveMounts(); err != nil {
				return err
			}
		}
		if err := unix.Chroot("."); err != nil {
			return fmt.Errorf("change root: %w", err)
		}
		return r.propagate()
	}
	// The new root is mounted at ".", and the old root over it; so both need no folder.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount old root: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("enter root: %w", err)
	}
	return r.propagate()
}

// leaveMounts unmounts what lies in the old root, as far as it can: a process that gets out of the tree finds an empty system, and above all no
// procfs without its masks.
func leaveMounts() error {
	for _, path := range []string{"/proc", "/sys", "/dev", "/run"} {
		if err := kernel.Unmount(path); err != nil {
			return fmt.Errorf("leave the old root: %w", err)
		}
	}
	return nil
}

// propagate gives the root the propagation that is asked for. Last of all: a shared mount cannot be pivoted to.
func (r *Root) propagate() error {
	l := r.cfg.Spec.Linux
	if l == nil || l.RootfsPropagation == "" {
		return nil
	}
	name := strings.TrimPrefix(l.RootfsPropagation, "r")
	p, ok := propagations[name]
	if !ok {
		return fmt.Errorf("set propagation of root: unknown kind %q", l.RootfsPropagation)
	}
	// Not recursive: each mount below has its own, and making a private volume shared would be more than was asked for.
	if err := r.tree.SetAttr(kernel.Attr{Propagation: p}); err != nil {
		return fmt.Errorf("set propagation of root: %w", err)
	}
	return nil
}

// Fd is a handle of the root.
func (r *Root) Fd() int { return r.tree.Fd() }

// take makes the first of the mounts, and those that follow it directly, as far as they come from the host: by another thread, which sees that.
func take(mounts []*mount) error {
	n := 0
	for n < len(mounts) && mounts[n].take != nil {
		n++
	}
	if n == 0 {
		return nil
	}
	done := make(chan error, 1)
	go func() {
		for _, m := range mounts[:n] {
			if err := m.take(); err != nil {
				done <- fmt.Errorf("mount %s: %w", m.spec.Destination, err)
				return
			}
			m.take = nil
		}
		done <- nil
	}()
	return <-done
}

func (r *Root) attach(m *mount) error {
	at, err := r.target(m)
	if err != nil {
		return err
	}
	defer unix.Close(at)
	if m.spec.Type == "proc" && !m.options.Bind {
		if m.tree == nil {
			return errors.New("its process has not made it")
		}
		return m.tree.Attach(at)
	}
	switch {
	case m.tree == nil && m.fs == nil:
		return r.attachInside(m, at)
	case m.tree == nil:
		if err := r.mountFilesystem(m); err != nil {
			return err
		}
	}
	if err := notProc(at); err != nil && !(m.file && procOverlay[path.Clean("/"+m.spec.Destination)]) {
		return err
	}
	if m.options.CopyUp {
		if err := copyUp(at, m.tree.Fd()); err != nil {
			return err
		}
		if m.options.Set&unix.MOUNT_ATTR_RDONLY != 0 {
			if err := m.tree.SetAttr(kernel.Attr{Set: unix.MOUNT_ATTR_RDONLY}); err != nil {
				return err
			}
		}
	}
	if err := m.tree.Attach(at); err != nil {
		return err
	}
	return r.attachBelow(m)
}

// procOverlay are the files of /proc that a file may be mounted over: those that lxcfs and the like present.
var procOverlay = map[string]bool{"/proc/cpuinfo": true, "/proc/diskstats": true, "/proc/meminfo": true, "/proc/stat": true, "/proc/swaps": true,
	"/proc/uptime": true, "/proc/loadavg": true, "/proc/slabinfo": true, "/proc/net/dev": true, "/proc/sys/kernel/ns_last_pid": true,
	"/proc/sys/crypto/fips_enabled": true}

// notProc refuses a target inside a procfs: a mount there could present false answers to the runtime itself.
func notProc(at int) error {
	if kernel.IsProc(at) == nil {
		return errors.New("the target lies inside /proc")
	}
	return nil
}

// target opens, or makes, what is to be covered.
func (r *Root) target(m *mount) (int, error) {
	dest := m.spec.Destination
	if m.file {
		return r.owner().CreateInRoot(r.tree.Fd(), dest, 0o755)
	}
	at, err := r.owner().MkdirInRoot(r.tree.Fd(), dest, 0o755)
	if err != nil {
		return -1, err
	}
	if m.spec.Type == "proc" || m.spec.Type == "sysfs" {
		// An image that has a link here wants the mount elsewhere than where its paths will be masked.
		if err := r.noLinks(dest); err != nil {
			_ = unix.Close(at)
			return -1, err
		}
	}
	return at, nil
}

func (r *Root) noLinks(dest string) error {
	fd, err := unix.Openat2(r.tree.Fd(), strings.TrimPrefix(path.Clean("/"+dest), "/"), &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC | unix.O_DIRECTORY, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS})
	if err != nil {
		return fmt.Errorf("open %s without links: %w", dest, err)
	}
	return unix.Close(fd)
}

// attachInside makes the file systems that belong to the namespaces the thread is in.
func (r *Root) attachInside(m *mount, at int) error {
	o := &m.options
	set := o.Set | o.RecSet
	tree, err := kernel.NewFilesystem(m.spec.Type, m.spec.Type, int(set), o.Data...)
	if err != nil && m.spec.Type == "sysfs" && (errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)) {
		// A user namespace that does not own its network namespace may not have a sysfs: the host's is shown, read-only.
		tree, err = kernel.CloneTree(unix.AT_FDCWD, "/sys", true)
		if err == nil {
			err = tree.SetAttr(kernel.Attr{Set: set | unix.MOUNT_ATTR_RDONLY, Propagation: unix.MS_SLAVE, Recursive: true})
		}
	}
	if err != nil {
		_ = tree.Close()
		return err
	}
	m.tree = tree
	if m.spec.Type == "mqueue" && r.owner() != (kernel.Owner{}) {
		// Its folder belongs to who made the IPC namespace, who has no place in there.
		_ = unix.Fchownat(tree.Fd(), "", r.cfg.RootUID, r.cfg.RootGID, unix.AT_EMPTY_PATH)
	}
	if err := notProc(at); err != nil {
		return err
	}
	return tree.Attach(at)
}

// attachBelow puts version 1 cgroups into their tmpfs, then makes that read-only if asked.
func (r *Root) attachBelow(m *mount) error {
	if len(m.below) == 0 {
		return nil
	}
	for _, b := range m.below {
		if b.link != "" {
			if err := unix.Symlinkat(b.link, m.tree.Fd(), b.name); err != nil && err != unix.EEXIST {
				return fmt.Errorf("link %s: %w", b.name, err)
			}
			continue
		}
		if err := unix.Mkdirat(m.tree.Fd(), b.name, 0o755); err != nil && err != unix.EEXIST {
			return fmt.Errorf("make folder %s: %w", b.name, err)
		}
		at, err := unix.Openat(m.tree.Fd(), b.name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open folder %s: %w", b.name, err)
		}
		err = b.tree.Attach(at)
		_ = unix.Close(at)
		if err != nil {
			return err
		}
	}
	if (m.options.Set|m.options.RecSet)&unix.MOUNT_ATTR_RDONLY != 0 {
		return m.tree.SetAttr(kernel.Attr{Set: unix.MOUNT_ATTR_RDONLY})
	}
	return nil
}

// maskPath hides what a path of the container shows: a file behind the null device, a folder behind an empty one.
func (r *Root) maskPath(name string) error {
	at, err := kernel.OpenInRoot(r.tree.Fd(), name, unix.O_PATH, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(at)
	var st unix.Stat_t
	if err := unix.Fstat(at, &st); err != nil {
		return fmt.Errorf("stat: %w", err)
	}
	cover := &r.null
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		cover = &r.mask
		if cover.tree == nil {
			if cover.tree, err = kernel.NewFilesystem("tmpfs", "tmpfs", unix.MOUNT_ATTR_RDONLY, kernel.Param{Key: "nr_inodes", Value: "2"}, kernel.Param{Key: "nr_blocks", Value: "1"}); err != nil {
				return err
			}
		}
	}
	return cover.attach(at)
}

// cover is one mount that is shown in many places: itself in the first, copies in the others, which older kernels make
// of attached mounts only.
type cover struct {
	tree     *kernel.Tree
	attached bool
}

func (c *cover) attach(at int) error {
	if !c.attached {
		c.attached = true
		return c.tree.Attach(at)
	}
	tree, err := kernel.CloneTree(c.tree.Fd(), "", false)
	if err != nil {
		return err
	}
	defer tree.Close()
	return tree.Attach(at)
}

func (r *Root) readonly(name string) error {
	at, err := kernel.OpenInRoot(r.tree.Fd(), name, unix.O_PATH, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(at)
	tree, err := kernel.CloneTree(at, "", true)
	if err != nil {
		return err
	}
	defer tree.Close()
	if err := tree.SetAttr(kernel.Attr{Set: unix.MOUNT_ATTR_RDONLY, Recursive: true}); err != nil {
		return err
	}
	return tree.Attach(at)
}

// wantsDevices: a /dev that is bound from elsewhere has its own.
func (r *Root) wantsDevices() bool {
	for _, m := range r.mounts {
		if path.Clean(m.spec.Destination) == "/dev" && (m.options.Bind || m.spec.Type == "bind") {
			return false
		}
	}
	return true
}

func ptr[T any](v T) *T { return &v }

// defaultDevices every container has: runtime specification, config-linux.md, default devices.
func defaultDevices() []specs.LinuxDevice {
	d := func(name string, major, minor int64) specs.LinuxDevice {
		return specs.LinuxDevice{Path: "/dev/" + name, Type: "c", Major: major, Minor: minor, FileMode: ptr(os.FileMode(0o666))}
	}
	return []specs.LinuxDevice{d("null", 1, 3), d("zero", 1, 5), d("full", 1, 7), d("random", 1, 8), d("urandom", 1, 9), d("tty", 5, 0)}
}

var devLinks = [][2]string{{"fd", "/proc/self/fd"}, {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"}, {"stderr", "/proc/self/fd/2"}}

func (r *Root) devices() error {
	dev, err := r.owner().MkdirInRoot(r.tree.Fd(), "/dev", 0o755)
	if err != nil {
		return err
	}
	defer unix.Close(dev)
	made := map[string]bool{}
	if l := r.cfg.Spec.Linux; l != nil {
		for _, d := range l.Devices {
			if err := r.device(dev, d); err != nil {
				return fmt.Errorf("make device %s: %w", d.Path, err)
			}
			made[path.Clean(d.Path)] = true
		}
	}
	for _, d := range defaultDevices() {
		if !made[d.Path] {
			if err := r.device(dev, d); err != nil {
				return fmt.Errorf("make device %s: %w", d.Path, err)
			}
		}
	}
	for _, l := range devLinks {
		if err := r.link(l[1], dev, l[0]); err != nil && err != unix.EEXIST {
			return fmt.Errorf("link /dev/%s: %w", l[0], err)
		}
	}
	// The terminal multiplexer is that of the container's own devpts.
	if err := r.link("pts/ptmx", dev, "ptmx"); err == unix.EEXIST {
		if err := unix.Unlinkat(dev, "ptmx", 0); err == nil {
			_ = r.link("pts/ptmx", dev, "ptmx")
		}
	} else if err != nil {
		return fmt.Errorf("link /dev/ptmx: %w", err)
	}
	return nil
}

// link makes a symbolic link of the container's root.
func (r *Root) link(target string, dir int, name string) error {
	err := unix.Symlinkat(target, dir, name)
	if err == nil && r.owner() != (kernel.Owner{}) {
		err = unix.Fchownat(dir, name, r.cfg.RootUID, r.cfg.RootGID, unix.AT_SYMLINK_NOFOLLOW)
	}
	return err
}

func (r *Root) device(dev int, d specs.LinuxDevice) error {
	clean := path.Clean("/" + d.Path)
	dir, name := path.Split(clean)
	at := dev
	if dir != "/dev/" {
		fd, err := r.owner().MkdirInRoot(r.tree.Fd(), dir, 0o755)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		at = fd
	}
	mode := uint32(0o666)
	if d.FileMode != nil {
		mode = uint32(d.FileMode.Perm())
	}
	kind, err := DeviceType(d.Type)
	if err != nil {
		return err
	}
	number := unix.Mkdev(uint32(d.Major), uint32(d.Minor))
	err = unix.Mknodat(at, name, kind|mode, int(number))
	if err == unix.EEXIST {
		var st unix.Stat_t
		if err := unix.Fstatat(at, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fmt.Errorf("stat: %w", err)
		}
		if st.Mode&unix.S_IFMT != kind || kind != unix.S_IFIFO && st.Rdev != number {
			return errors.New("something else is there")
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("make node: %w", err)
	}
	uid, gid := r.cfg.RootUID, r.cfg.RootGID
	if d.UID != nil {
		if uid, err = host(r.cfg.HostUID, *d.UID); err != nil {
			return err
		}
	}
	if d.GID != nil {
		if gid, err = host(r.cfg.HostGID, *d.GID); err != nil {
			return err
		}
	}
	if uid != 0 || gid != 0 {
		if err := unix.Fchownat(at, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fmt.Errorf("set owner: %w", err)
		}
	}
	return nil
}

func host(convert func(uint32) (int, bool), id uint32) (int, error) {
	if convert == nil {
		return int(id), nil
	}
	h, ok := convert(id)
	if !ok {
		return 0, fmt.Errorf("id %d is not mapped by the user namespace", id)
	}
	return h, nil
}

// DeviceType is the file type bits of a device's type in the configuration.
func DeviceType(t string) (uint32, error) {
	switch t {
	case "c", "u":
		return unix.S_IFCHR, nil
	case "b":
		return unix.S_IFBLK, nil
	case "p":
		return unix.S_IFIFO, nil
	}
	return 0, fmt.Errorf("device type %q is none of c, u, b, p", t)
}

// copyUp copies what the folder from holds into the folder to: plain files, folders and links, with owners and modes.
func copyUp(from, to int) error {
	fd, err := unix.Openat(from, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("copy up: %w", err)
	}
	dir := os.NewFile(uintptr(fd), "copy-up")
	defer dir.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err == nil {
		_ = unix.Fchownat(to, "", int(st.Uid), int(st.Gid), unix.AT_EMPTY_PATH)
		_ = kernel.Chmod(to, st.Mode&0o7777)
	}
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("copy up: %w", err)
	}
	for _, name := range names {
		if err := copyEntry(fd, to, name); err != nil {
			return fmt.Errorf("copy up %s: %w", filepath.Join("…", name), err)
		}
	}
	return nil
}

func copyEntry(from, to int, name string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(from, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		if err := unix.Mkdirat(to, name, 0o700); err != nil {
			return err
		}
		a, err := unix.Openat(from, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(a)
		b, err := unix.Openat(to, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(b)
		if err := unix.Fchmod(b, st.Mode&0o7777); err != nil {
			return err
		}
		return copyUp(a, b)
	case unix.S_IFLNK:
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(from, name, buf)
		if err != nil {
			return err
		}
		if err := unix.Symlinkat(string(buf[:n]), to, name); err != nil {
			return err
		}
		return unix.Fchownat(to, name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW)
	case unix.S_IFREG:
		a, err := kernel.OpenFile(from, name)
		if err != nil {
			return err
		}
		defer unix.Close(a)
		b, err := unix.Openat(to, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return err
		}
		defer unix.Close(b)
		buf := make([]byte, 64<<10)
		for {
			n, err := unix.Read(a, buf)
			if err != nil {
				return err
			}
			if n == 0 {
				break
			}
			for w := 0; w < n; {
				k, err := unix.Write(b, buf[w:n])
				if err != nil {
					return err
				}
				w += k
			}
		}
		if err := unix.Fchown(b, int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
		return unix.Fchmod(b, st.Mode&0o7777)
	}
	return nil
}
