package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"nau/internal/engine/layer"
	"nau/internal/engine/spec"
	"nau/internal/kernel"
	"nau/internal/kernel/idmap"
)

// imageMounts shows images as folders (KEP-4639): every mount of type image is replaced by a bind of a read-only view of the image's files.
func (m *Manager) imageMounts(ctx context.Context, r *Record) ([]spec.Mount, error) {
	out := r.Config.Mounts
	for i, mnt := range r.Config.Mounts {
		if mnt.Type != spec.MountImage {
			continue
		}
		source, err := m.showImage(ctx, r.ID, i, mnt, r.Owners)
		if err != nil {
			return nil, fmt.Errorf("mount image %s at %s: %w", mnt.Source, mnt.Target, err)
		}
		if &out[0] == &r.Config.Mounts[0] {
			out = slices.Clone(out)
		}
		out[i] = spec.Mount{Source: source, Target: mnt.Target, ReadOnly: true, Options: append([]string{"noexec"}, mnt.Options...)}
	}
	return out, nil
}

// showImage mounts an image's files, or the part that SubPath names, and returns the place. A writable layer nobody writes to keeps the image's
// layers from being collected while the container exists.
func (m *Manager) showImage(ctx context.Context, id string, n int, mnt spec.Mount, owners idmap.Map) (string, error) {
	img, err := m.set.Images.Get(mnt.Source)
	if err != nil {
		return "", err
	}
	key := id + "-image-" + strconv.Itoa(n)
	l, err := m.set.Layers.Mounts(ctx, key)
	if errors.Is(err, layer.ErrNotFound) {
		l, err = m.set.Layers.Prepare(ctx, key, img.DiffIDs, layer.Labels(map[string]string{snapshotMark: id}), layer.Owners(owners))
	}
	if err != nil {
		return "", err
	}
	place := filepath.Join(m.bundle(id), "images", strconv.Itoa(n))
	if err := os.MkdirAll(place, 0o700); err != nil {
		return "", err
	}
	tree, err := l.Tree(unix.MOUNT_ATTR_RDONLY)
	if err != nil {
		return "", err
	}
	defer tree.Close()
	show := tree
	if mnt.SubPath != "" {
		if filepath.IsAbs(mnt.SubPath) || slices.Contains(strings.Split(mnt.SubPath, "/"), "..") {
			return "", fmt.Errorf("part %q leads out of the image", mnt.SubPath)
		}
		fd, err := kernel.OpenInRoot(tree.Fd(), mnt.SubPath, unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			return "", err
		}
		defer unix.Close(fd)
		if show, err = kernel.CloneTree(fd, "", false); err != nil {
			return "", err
		}
		defer show.Close()
	}
	return place, show.AttachPath(place)
}

// hideImages unmounts what showImage mounted.
func (m *Manager) hideImages(id string) error {
	places, err := filepath.Glob(filepath.Join(m.bundle(id), "images", "*"))
	for _, p := range places {
		err = errors.Join(err, kernel.Unmount(p))
	}
	return err
}

// dropImages gives up the layers that showImage held.
func (m *Manager) dropImages(r *Record) error {
	var errs []error
	for i, mnt := range r.Config.Mounts {
		if mnt.Type == spec.MountImage {
			if err := m.set.Layers.Remove(r.ID + "-image-" + strconv.Itoa(i)); err != nil && !errors.Is(err, layer.ErrNotFound) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}
