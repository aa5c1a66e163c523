package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"nau/internal/engine/layer"
	"nau/internal/engine/spec"
	"nau/internal/kernel"
	"nau/internal/kernel/idmap"
)

// PartError is a part of an image or volume that cannot be shown.
type PartError struct {
	Base, Part string
	Err        error
}

func (e *PartError) Error() string {
	if e.Escapes() {
		return fmt.Sprintf("open part %s of %s: a link leads out of it", e.Part, e.Base)
	}
	return fmt.Sprintf("open part %s of %s: %v", e.Part, e.Base, e.Err)
}

func (e *PartError) Unwrap() error { return e.Err }

// Escapes tells that the part is not below its base.
func (e *PartError) Escapes() bool { return errors.Is(e.Err, unix.EXDEV) }

// OpenPart opens (O_PATH) what lies at part below base, a folder; "" is base itself.
func OpenPart(base, part string) (int, error) {
	root, err := kernel.OpenPath(base)
	if err != nil || part == "" {
		return root, err
	}
	defer unix.Close(root)
	return openPart(root, base, part)
}

func openPart(root int, base, part string) (int, error) {
	fd, err := kernel.OpenBelow(root, part, unix.O_PATH)
	if err != nil {
		return -1, &PartError{base, part, err}
	}
	return fd, nil
}

// shownMounts replaces mounts by binds of what they show: images (KEP-4639) by a read-only view of their files, and what shows a part of
// its source by that part, as it is now: whoever changes the source afterwards changes nothing of what is mounted.
func (m *Manager) shownMounts(ctx context.Context, r *Record) ([]spec.Mount, error) {
	out := slices.Clone(r.Config.Mounts)
	for i, mnt := range out {
		place := filepath.Join(m.bundle(r.ID), "images", strconv.Itoa(i))
		switch {
		case mnt.Type == spec.MountImage:
			if err := m.showImage(ctx, r.ID, i, mnt, r.Owners, place); err != nil {
				return nil, fmt.Errorf("mount image %s at %s: %w", mnt.Source, mnt.Target, err)
			}
			out[i] = spec.Mount{Source: place, Target: mnt.Target, ReadOnly: true, Options: append([]string{"noexec"}, mnt.Options...)}
		case mnt.SubPath != "":
			fd, err := OpenPart(mnt.Source, mnt.SubPath)
			if err == nil {
				err = show(fd, place, !mnt.NonRecursive)
				unix.Close(fd)
			}
			if err != nil {
				return nil, fmt.Errorf("mount %s at %s: %w", mnt.Source, mnt.Target, err)
			}
			out[i].Source, out[i].SubPath = place, ""
		}
	}
	return out, nil
}

// show binds what fd is open on at place, which is made.
func show(fd int, place string, recursive bool) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("look at %s: %w", place, err)
	}
	err := os.MkdirAll(filepath.Dir(place), 0o700)
	if err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
		err = os.MkdirAll(place, 0o700)
	} else if err == nil {
		err = os.WriteFile(place, nil, 0o600)
	}
	if err != nil {
		return err
	}
	tree, err := kernel.CloneTree(fd, "", recursive)
	if err != nil {
		return err
	}
	defer tree.Close()
	return tree.AttachPath(place)
}

// showImage mounts an image's files, or the part that SubPath names, at place. A writable layer nobody writes to keeps the image's layers from
// being collected while the container exists; the image itself may go then.
func (m *Manager) showImage(ctx context.Context, id string, n int, mnt spec.Mount, owners idmap.Map, place string) error {
	key := id + "-image-" + strconv.Itoa(n)
	l, err := m.set.Layers.Mounts(ctx, key)
	if errors.Is(err, layer.ErrNotFound) {
		img, err := m.set.Images.Get(mnt.Source)
		if err != nil {
			return err
		}
		if l, err = m.set.Layers.Prepare(ctx, key, img.DiffIDs, layer.Labels(map[string]string{snapshotMark: id}), layer.Owners(owners)); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	tree, err := l.Tree(unix.MOUNT_ATTR_RDONLY)
	if err != nil {
		return err
	}
	defer tree.Close()
	if mnt.SubPath == "" {
		if err := os.MkdirAll(place, 0o700); err != nil {
			return err
		}
		return tree.AttachPath(place)
	}
	fd, err := openPart(tree.Fd(), mnt.Source, mnt.SubPath)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return show(fd, place, false)
}

// shownImages are the images that mounts show, as far as they are there.
func (m *Manager) shownImages(mounts []spec.Mount) (ids []digest.Digest) {
	for _, mnt := range mounts {
		if mnt.Type != spec.MountImage {
			continue
		}
		if img, err := m.set.Images.Get(mnt.Source); err == nil {
			ids = append(ids, img.ID)
		}
	}
	return ids
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
