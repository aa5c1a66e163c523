package oci

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"nau/internal/kernel"
)

// A new mount namespace is a copy of its maker's: every mount of the host is copied, set apart and unmounted again, of which
// each container that runs adds some. Who makes many containers makes them from a namespace that has nothing but an empty
// root; all that a container is to see of the host is held by descriptors beforehand (package rootfs).

// bareMounts opens that namespace, which is made once and lives as long as the program. -1: it cannot be had on this host,
// whose own root is the initial ramfs, say.
var bareMounts = sync.OnceValue(func() int {
	fd := -1
	_ = kernel.OnThread(func() (err error) {
		fd, err = makeBare()
		return err
	})
	return fd
})

func makeBare() (int, error) {
	links, err := kernel.OpenProc("thread-self/ns", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return -1, err
	}
	defer unix.Close(links)
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return -1, fmt.Errorf("unshare mounts: %w", err)
	}
	if err := kernel.SetMountAttr(unix.AT_FDCWD, "/", kernel.Attr{Propagation: unix.MS_PRIVATE, Recursive: true}); err != nil {
		return -1, fmt.Errorf("detach from the host's mounts: %w", err)
	}
	root, err := kernel.NewFilesystem("tmpfs", "nau-oci", unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return -1, err
	}
	defer root.Close()
	if err := root.AttachPath("/"); err != nil {
		return -1, err
	}
	if err := unix.Fchdir(root.Fd()); err != nil {
		return -1, fmt.Errorf("enter empty root: %w", err)
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return -1, fmt.Errorf("pivot to empty root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return -1, fmt.Errorf("unmount old root: %w", err)
	}
	fd, err := unix.Openat(links, "mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open empty mount namespace: %w", err)
	}
	return fd, nil
}

// leaveMounts takes the calling thread, which is to make the process, to the bare mount namespace. It stays where it is when
// that does not serve: hooks are programs of the host's, and in a user namespace a procfs is to be had only where one is seen.
func (n *creation) leaveMounts() error {
	h := n.spec.Hooks
	if !n.runtime.Many || n.ns.new&unix.CLONE_NEWNS == 0 || n.ns.userns() || n.options.NoPivot || h != nil && len(h.CreateContainer) > 0 {
		return nil
	}
	if bare := bareMounts(); bare >= 0 {
		return kernel.JoinThread(bare, kernel.Mount)
	}
	return nil
}
