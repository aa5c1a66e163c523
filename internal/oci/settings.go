package oci

import (
	"fmt"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"nau/internal/kernel"
)

// setNames sets host and domain name, in the thread's UTS namespace.
func setNames(spec *specs.Spec) error {
	if spec.Hostname != "" {
		if err := unix.Sethostname([]byte(spec.Hostname)); err != nil {
			return fmt.Errorf("set hostname: %w", err)
		}
	}
	if spec.Domainname != "" {
		if err := unix.Setdomainname([]byte(spec.Domainname)); err != nil {
			return fmt.Errorf("set domainname: %w", err)
		}
	}
	return nil
}

// setSysctls writes kernel parameters, which the kernel looks up in the thread's namespaces.
func setSysctls(spec *specs.Spec) error {
	if spec.Linux == nil {
		return nil
	}
	for name, value := range spec.Linux.Sysctl {
		if err := kernel.WriteProc("sys/"+sysctlPath(name), value); err != nil {
			return fmt.Errorf("set sysctl %s: %w", name, err)
		}
	}
	return nil
}

// loopbackUp brings the new network namespace's loopback interface up.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("bring loopback up: %w", err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("bring loopback up: %w", err)
	}
	return nil
}

// newTimeNS makes the thread's children live in a new time namespace.
func newTimeNS(offsets map[string]specs.LinuxTimeOffset) error {
	if err := kernel.TimeNS.Check(); err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWTIME); err != nil {
		return fmt.Errorf("new time namespace: %w", err)
	}
	for clock, o := range offsets {
		line := fmt.Sprintf("%s %d %d\n", clock, o.Secs, o.Nanosecs)
		// The file is there for every thread, by its number; "self" is the first thread.
		if err := kernel.WriteProc(strconv.Itoa(unix.Gettid())+"/timens_offsets", line); err != nil {
			return fmt.Errorf("set time offset: %w", err)
		}
	}
	return nil
}
