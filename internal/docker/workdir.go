package docker

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"nau/internal/engine/container"
	"nau/internal/kernel"
)

// makeWorkdir makes the working directory of a container that is not started yet: files may be copied there and out of there before. One that the
// image has, as nearly all do, costs a look and no mount.
func (s *Server) makeWorkdir(ctx context.Context, r *container.Record, name string) error {
	if name == "" || name == "/" {
		return nil
	}
	m, err := s.e.Layers.Mounts(ctx, r.ID)
	if err != nil {
		return err
	}
	for _, dir := range m.Lower {
		if hasFolder(dir, name) {
			return nil
		}
	}
	root, done, err := s.view(ctx, r, false)
	if err != nil {
		return err
	}
	defer done()
	at, err := kernel.OpenPath(root)
	if err != nil {
		return err
	}
	defer kernel.Close(at)
	dir, err := r.Owners.Root().MkdirInRoot(at, name, 0o755)
	if errors.Is(err, unix.ENOTDIR) {
		return badRequest("Cannot mkdir: %s is not a directory", name)
	}
	if err != nil {
		return fmt.Errorf("make working directory: %w", err)
	}
	kernel.Close(dir)
	return nil
}

// hasFolder tells whether there is a folder of this name below a root.
func hasFolder(root, name string) bool {
	at, err := kernel.OpenPath(root)
	if err != nil {
		return false
	}
	defer kernel.Close(at)
	dir, err := kernel.OpenInRoot(at, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	kernel.Close(dir)
	return true
}
