package sandbox

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"nau/internal/kernel"
)

// checkOwners refuses what a user namespace cannot be had with: its root has no power over the host's own namespaces, so that a container would see
// what it cannot use. KEP-127 and dockerd's documentation of userns-remap say the same.
func checkOwners(c Config) error {
	if c.Owners.IsZero() {
		return nil
	}
	var errs []error
	for what, host := range map[string]bool{"network": c.HostNet, "PID": c.PID == Host, "IPC": c.IPC == Host} {
		if host {
			errs = append(errs, fmt.Errorf("user namespace: it cannot be had with the host's %s namespace", what))
		}
	}
	return errors.Join(append(errs, c.Owners.Check())...)
}

// pin makes the sandbox's namespaces and furnishes them: by a thread, or, where a user namespace is to own them, by a process for a moment.
func (m *Manager) pin(r *Record, pins map[kernel.Namespace]string) error {
	furnish := func() error { return furnish(r.Config) }
	if r.Config.Owners.IsZero() {
		return kernel.Pin(pins, furnish)
	}
	err := r.Config.Owners.Hold(slices.Collect(maps.Keys(pins)), func(pid int) error {
		if err := kernel.PinProcess(pid, kernel.User, m.ns(r.ID, kernel.User)); err != nil {
			return err
		}
		for kind, path := range pins {
			if err := kernel.PinProcess(pid, kind, path); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return kernel.EnterAll(pins, furnish)
}

// give lets the root of the sandbox's user namespace own a file.
func give(r *Record, path string) error {
	if r.Config.Owners.IsZero() {
		return nil
	}
	root := r.Config.Owners.Root()
	if err := os.Chown(path, root.UID, root.GID); err != nil {
		return fmt.Errorf("give to user namespace: %w", err)
	}
	return nil
}
