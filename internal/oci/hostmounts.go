package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"nau/internal/kernel"
)

// A container without a mount namespace of its own inherits the runtime's (runtime specification, config-linux.md, "Namespaces"): its processes
// see the host's mounts change, and the host sees theirs. All its mounts lie below one, over the folder of its root, which Delete unmounts with
// all that is below. Where and which is written down before it is there: what a crash leaves is taken away by Delete with force.

// hostMounts tells whether a container is one of these.
func hostMounts(spec *specs.Spec) bool {
	for _, ns := range spec.Linux.Namespaces {
		if ns.Type == specs.MountNamespace {
			return false
		}
	}
	return true
}

// mounted is what mountFile holds.
type mounted struct {
	Path string `json:"path"`
	ID   uint64 `json:"id"` // see kernel.MountID
}

// noteMount writes down the mount that the root is going to be.
func (n *creation) noteMount(folder string) error {
	id, err := n.root.MountID()
	if err != nil {
		return err
	}
	b, err := json.Marshal(mounted{folder, id})
	if err != nil {
		return fmt.Errorf("encode mount of %s: %w", n.options.ID, err)
	}
	if err := os.WriteFile(filepath.Join(n.runtime.dir(n.options.ID), mountFile), b, 0o600); err != nil {
		return fmt.Errorf("write mount of %s: %w", n.options.ID, err)
	}
	return nil
}

// unmountRoot unmounts a container's root from the host, with all that is mounted below it. A container that has a mount namespace has nothing there.
func (r *Runtime) unmountRoot(id string) error {
	b, err := os.ReadFile(filepath.Join(r.dir(id), mountFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read mount of %s: %w", id, err)
	}
	var m mounted
	if err := json.Unmarshal(b, &m); err != nil {
		return fmt.Errorf("decode mount of %s: %w", id, err)
	}
	at, err := kernel.MountID(unix.AT_FDCWD, m.Path)
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil
	case err != nil:
		return fmt.Errorf("unmount root of %s: %w", id, err)
	case at != m.ID:
		return nil // never attached, or unmounted by somebody else
	}
	if err := unix.Unmount(m.Path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		return fmt.Errorf("unmount root of %s: %s: %w", id, m.Path, err)
	}
	return nil
}

// enterRoot makes the container's root the calling thread's, which has joined its namespaces. root is the first process's, see openRoot.
func enterRoot(root int) error {
	if root < 0 {
		return nil // the mount namespace's
	}
	if err := unix.Fchdir(root); err != nil {
		return fmt.Errorf("enter the container's root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("change to the container's root: %w", err)
	}
	return nil
}

// openRoot takes hold of the first process's root where it is not the mount namespace's, else gives -1.
func (c *Container) openRoot() (int, error) {
	if !hostMounts(c.spec) {
		return -1, nil
	}
	return kernel.OpenProcLink(pidString(c.record.Pid), "root", unix.O_PATH|unix.O_DIRECTORY)
}
