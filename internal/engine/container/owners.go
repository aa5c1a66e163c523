package container

import (
	"errors"
	"fmt"

	"nau/internal/engine/spec"
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
