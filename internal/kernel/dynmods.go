package kernel

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// FavorDynmods asks the kernel to make moving processes between cgroups fast (Linux 6.0, the mount option favordynmods of
// Documentation/admin-guide/cgroup-v2.rst): without it the first move after a while waits some ten milliseconds for an RCU
// grace period, which is most of a container's start where controllers are in version 1. Forks and exits become
// a little dearer. It is a choice for the whole host. changed tells whether it was off before.
func FavorDynmods(on bool) (changed bool, err error) {
	layout, err := Cgroups()
	if err != nil {
		return false, err
	}
	h, ok := layout.Unified()
	if !ok {
		return false, fmt.Errorf("%w: fast moves between cgroups: no version 2 hierarchy is mounted", ErrCannot)
	}
	now, err := favorsDynmods(h.Mount)
	if err != nil || now == on {
		return false, err
	}
	fs, err := unix.Fspick(unix.AT_FDCWD, h.Mount, unix.FSPICK_CLOEXEC|unix.FSPICK_NO_AUTOMOUNT)
	if err != nil {
		return false, fmt.Errorf("pick cgroup2: %w", err)
	}
	defer unix.Close(fs)
	// A reconfiguration sets all of the options: those that are on must be named again.
	options, err := superOptions(h.Mount)
	if err != nil {
		return false, err
	}
	if on {
		options = append(options, "favordynmods")
	}
	for _, o := range options {
		if o == "rw" || o == "ro" || o == "favordynmods" && !on {
			continue
		}
		if err := unix.FsconfigSetFlag(fs, o); err != nil {
			return false, fsError(fs, "set option "+o+" of", "cgroup2", err)
		}
	}
	if err := unix.FsconfigReconfigure(fs); err != nil {
		return false, fsError(fs, "reconfigure", "cgroup2", err)
	}
	return true, nil
}

func favorsDynmods(mount string) (bool, error) {
	options, err := superOptions(mount)
	for _, o := range options {
		if o == "favordynmods" {
			return true, err
		}
	}
	return false, err
}

// superOptions are the options of the file system mounted at a path.
func superOptions(mount string) ([]string, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		left, right, ok := strings.Cut(strings.TrimSpace(line), " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if ok && len(l) > 4 && len(r) > 2 && unescapeMount(l[4]) == mount {
			return strings.Split(r[2], ","), nil
		}
	}
	return nil, fmt.Errorf("read mounts: %s is none", mount)
}
