package kernel

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Probe is a question about this kernel or this process, asked once. Its error says what is missing; a test may skip only
// with a probe's error.
type Probe struct {
	Name string
	ask  func() error
	once sync.Once
	err  error
}

// ErrCannot is wrapped by every probe's error.
var ErrCannot = errors.New("this kernel or process cannot")

// Check asks the question the first time and tells the answer: nil for yes.
func (p *Probe) Check() error {
	p.once.Do(func() {
		if err := p.ask(); err != nil {
			p.err = fmt.Errorf("%w: %s: %w", ErrCannot, p.Name, err)
		}
	})
	return p.err
}

// Can is Check as a yes or no.
func (p *Probe) Can() bool { return p.Check() == nil }

// The probes.
var (
	// Root: the process is root of the initial user namespace.
	Root = &Probe{Name: "root", ask: func() error {
		if os.Geteuid() != 0 {
			return errors.New("effective user id is not 0")
		}
		return nil
	}}
	// RaiseLimits: a hard resource limit can be raised (CAP_SYS_RESOURCE).
	RaiseLimits = &Probe{Name: "raise hard limits", ask: func() error { return hasCapability(unix.CAP_SYS_RESOURCE) }}
	// IDMap: mounts can be shown through another user namespace's mapping.
	IDMap = &Probe{Name: "idmapped mounts", ask: func() error {
		// A descriptor that is no user namespace is refused as such only where the attribute is known.
		err := unix.MountSetattr(-1, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: 1 << 40})
		if err == unix.ENOSYS {
			return err
		}
		return nil
	}}
	// Seccomp: filters can be installed.
	Seccomp = &Probe{Name: "seccomp filters", ask: func() error {
		// A nil filter is a bad address where the mode is known, and invalid where it is not.
		if _, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, 0); e != unix.EFAULT {
			return e
		}
		return nil
	}}
	// TimeNS: time namespaces exist.
	TimeNS = &Probe{Name: "time namespaces", ask: func() error { return exists("/proc/self/ns/time") }}
	// UserNS: user namespaces exist and may be made.
	UserNS = &Probe{Name: "user namespaces", ask: func() error {
		b, err := os.ReadFile("/proc/sys/user/max_user_namespaces")
		if err != nil {
			return err
		}
		if strings.TrimSpace(string(b)) == "0" {
			return errors.New("max_user_namespaces is 0")
		}
		return exists("/proc/self/ns/user")
	}}
	// CgroupNS: cgroup namespaces exist.
	CgroupNS = &Probe{Name: "cgroup namespaces", ask: func() error { return exists("/proc/self/ns/cgroup") }}
	// AppArmor: the security module is on.
	AppArmor = &Probe{Name: "AppArmor", ask: func() error {
		b, err := os.ReadFile("/sys/module/apparmor/parameters/enabled")
		if err != nil {
			return err
		}
		if !strings.HasPrefix(string(b), "Y") {
			return errors.New("not enabled")
		}
		return exists("/sys/kernel/security/apparmor")
	}}
	// SELinux: the security module is on.
	SELinux = &Probe{Name: "SELinux", ask: func() error { return exists("/sys/fs/selinux/enforce") }}
	// PidfdInfo: a pidfd tells the exit status of a process that is no child (Linux 6.15).
	PidfdInfo = &Probe{Name: "exit status by pidfd", ask: func() error {
		fd, err := unix.PidfdOpen(os.Getpid(), 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		info := &unix.PidfdInfo{Mask: PidfdInfoExit | unix.PIDFD_INFO_PID}
		return unix.IoctlPidfdInfo(fd, info)
	}}
	overlayAppend = &Probe{Name: "lowerdir+ of overlayfs", ask: func() error {
		fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
		if err != nil {
			return err
		}
		defer unix.Close(fs)
		// Before Linux 6.5 the options of overlayfs were one text that nobody read before the end: there any name is taken.
		if unix.FsconfigSetString(fs, "no-such-option", "/") == nil {
			return errors.New("options are one text")
		}
		return unix.FsconfigSetString(fs, "lowerdir+", "/")
	}}
)

// CanOverlayAppend tells whether overlayfs takes lower folders one by one.
func CanOverlayAppend() bool { return overlayAppend.Can() }

func exists(path string) error {
	_, err := os.Stat(path)
	return err
}

func hasCapability(number int) error {
	var data [2]unix.CapUserData
	if err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data[0]); err != nil {
		return err
	}
	if data[number/32].Effective&(1<<(uint(number)%32)) == 0 {
		return fmt.Errorf("capability %d is not effective", number)
	}
	return nil
}
