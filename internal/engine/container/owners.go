package container

import (
	"errors"
	"fmt"
	"os"

	"nau/internal/engine/spec"
	"nau/internal/kernel"
)

// mayOwn refuses what a container in a user namespace cannot be.
func (r *Record) mayOwn() error {
	if r.Config.PID == PIDHost {
		return errors.New("user namespace: it cannot be had with the host's PID namespace")
	}
	if r.Config.PIDOf != "" && r.Config.IPCOf != "" && r.Config.PIDOf != r.Config.IPCOf {
		return errors.New("user namespace: the PID and IPC namespaces of two other containers belong to two user namespaces")
	}
	return nil
}

// follow puts a container into the user namespace of another one whose PID or IPC namespace it joins, since only that one has power over them.
func (r *Record) follow(target *Record, in *spec.Input) error {
	if !r.Owners.Equal(target.Owners) {
		return fmt.Errorf("join namespaces of container %s: its user namespace has other owners (%s and not %s)", target.ID[:12], owners(target), owners(r))
	}
	if !r.Owners.IsZero() {
		in.Namespaces.User = fmt.Sprintf("/proc/%d/ns/user", target.Pid)
	}
	return nil
}

func owners(r *Record) string {
	if r.Owners.IsZero() {
		return "the host's"
	}
	return r.Owners.String()
}

// makeSource makes the folder that a bind shows, with what is above it. Of a user namespace's container it belongs to the container's root, who could
// do nothing with it otherwise, unless the bind shows it with owners that are mapped anyway.
func (r *Record) makeSource(mnt spec.Mount) error {
	if r.Owners.IsZero() || len(mnt.UIDs) > 0 {
		return os.MkdirAll(mnt.Source, 0o755)
	}
	host, err := kernel.OpenPath("/")
	if err != nil {
		return err
	}
	fd, err := r.Owners.Root().MkdirInRoot(host, mnt.Source, 0o755)
	kernel.Close(host, fd)
	return err
}

// admit lets the root of the user namespace go through a container's folder, and nobody else: other runtimes reach the root file system by its path, as
// a process that is in the namespace already.
func (r *Record) admit(bundle string) error {
	if err := os.Chown(bundle, -1, r.Owners.Root().GID); err != nil {
		return fmt.Errorf("admit user namespace: %w", err)
	}
	return os.Chmod(bundle, 0o710)
}
