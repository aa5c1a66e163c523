package oci

import (
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"nau/internal/kernel"
)

// netDevices moves devices of the host into the container's network namespace, in which the calling thread is (runtime specification,
// config-linux.md, "Network Devices"). Before one is moved, all are known to be there and to have a place. What becomes of them at the end of the
// namespace is the kernel's affair.
func (n *creation) netDevices() error {
	devices := n.spec.Linux.NetDevices
	if len(devices) == 0 {
		return nil
	}
	names := slices.Sorted(maps.Keys(devices))
	target := func(name string) string {
		if to := devices[name].Name; to != "" {
			return to
		}
		return name
	}
	for _, name := range names {
		taken, err := kernel.LinkNameTaken(target(name))
		if err != nil {
			return err
		}
		if taken {
			return fmt.Errorf("%w: linux.netDevices: %s: the container has a device %s already", ErrInvalid, name, target(name))
		}
	}
	links := make([]*kernel.Link, len(names))
	namespace, err := kernel.OpenProcLink(pidString(n.pid)+"/ns", "net", unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer unix.Close(namespace)
	// By a thread that is in the host's.
	moved := make(chan error, 1)
	go func() { moved <- moveLinks(names, links, namespace) }()
	if err := <-moved; err != nil {
		return fmt.Errorf("linux.netDevices: %w", err)
	}
	for i, name := range names {
		if err := links[i].Settle(target(name)); err != nil {
			return fmt.Errorf("linux.netDevices: %w", err)
		}
	}
	return nil
}

func moveLinks(names []string, links []*kernel.Link, namespace int) (err error) {
	for i, name := range names {
		if links[i], err = kernel.FindLink(name); err != nil {
			return err
		}
	}
	for _, l := range links {
		if err := l.Move(namespace); err != nil {
			return err
		}
	}
	return nil
}
