package docker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"nau/internal/engine/container"
	"nau/internal/engine/spec"
	"nau/internal/kernel"
)

// viewsOf is the pattern of the places where files of what does not run are looked at.
const viewsOf = "view-*"

// dropViews takes away the views of a server that was killed while it looked.
func dropViews(runDir string) error {
	left, err := filepath.Glob(filepath.Join(runDir, viewsOf))
	if err != nil {
		return err
	}
	for _, dir := range left {
		if err := kernel.Unmount(dir); err != nil {
			return err
		}
		if err := os.Remove(dir); err != nil {
			return fmt.Errorf("remove view: %w", err)
		}
	}
	return nil
}

// view shows a container's root file system: as its processes see it while it runs, else its layers mounted for the time being, with its
// volumes in them if they are wanted.
func (s *Server) view(ctx context.Context, r *container.Record, volumes bool) (root string, done func(), err error) {
	if running(r) && r.Pid > 0 {
		return "/proc/" + itoa(r.Pid) + "/root", func() {}, nil
	}
	m, err := s.e.Containers.Stack(ctx, r)
	if err != nil {
		return "", nil, err
	}
	dir, err := os.MkdirTemp(s.e.Config().RunDir, viewsOf)
	if err != nil {
		return "", nil, err
	}
	unlock := s.op.lock(r.ID) // so that it is not started over the same writable layer meanwhile
	if err := m.Attach(dir); err != nil {
		unlock()
		os.Remove(dir)
		return "", nil, err
	}
	done = func() {
		if err := kernel.Unmount(dir); err != nil {
			s.log.Warn("unmount view", "error", err)
		}
		os.Remove(dir)
		unlock()
	}
	if volumes {
		if err := showMounts(dir, r.Config.Mounts, r.Owners.Root()); err != nil {
			done()
			return "", nil, err
		}
	}
	return dir, done, nil
}

// showMounts binds what a container mounts into its root file system, where the links in there lead and no further. It is bound privately,
// so that its end is the end of nothing else. What is not on this host any more is left out.
func showMounts(root string, mounts []spec.Mount, owner kernel.Owner) error {
	fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", root, err)
	}
	defer unix.Close(fd)
	for _, m := range mounts {
		if m.Type != "" && m.Type != "bind" {
			continue
		}
		source, err := container.OpenPart(m.Source, m.SubPath)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = showMount(fd, m, source, owner)
			kernel.Close(source)
		}
		if err != nil {
			return fmt.Errorf("show mount at %s: %w", m.Target, err)
		}
	}
	return nil
}

func showMount(root int, m spec.Mount, source int, owner kernel.Owner) error {
	info, err := os.Stat(kernel.FdPath(source))
	if err != nil {
		return err
	}
	tree, err := kernel.CloneTree(source, "", !m.NonRecursive)
	if err != nil {
		return err
	}
	defer tree.Close()
	attr := kernel.Attr{Propagation: unix.MS_PRIVATE, Recursive: !m.NonRecursive}
	if m.ReadOnly {
		attr.Set = unix.MOUNT_ATTR_RDONLY
	}
	if err := tree.SetAttr(attr); err != nil {
		return err
	}
	make := owner.CreateInRoot
	if info.IsDir() {
		make = owner.MkdirInRoot
	}
	at, err := make(root, m.Target, 0o755)
	if err != nil {
		return err
	}
	defer unix.Close(at)
	return tree.Attach(at)
}
