package kernel

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
)

// Hold makes a process in new namespaces, a user namespace with the given mapping first, which owns the others, and ends it when f is done. The process
// runs nothing: it is stopped before the first instruction of its program. f may pin the namespaces (PinProcess) or open them.
func Hold(kinds []Namespace, uids, gids []syscall.SysProcIDMap, f func(pid int) error) error {
	flags := uintptr(syscall.CLONE_NEWUSER)
	for _, k := range kinds {
		flags |= uintptr(k.Flag())
	}
	// Who traces is the thread, and a process whose tracer is gone would go on.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p, err := os.StartProcess("/proc/self/exe", []string{"held"}, &os.ProcAttr{Sys: &syscall.SysProcAttr{Cloneflags: flags, UidMappings: uids, GidMappings: gids,
		GidMappingsEnableSetgroups: true, Ptrace: true, Pdeathsig: syscall.SIGKILL}})
	if err != nil {
		return fmt.Errorf("make user namespace: %w", err)
	}
	err = f(p.Pid)
	if kerr := p.Kill(); kerr != nil && !errors.Is(kerr, os.ErrProcessDone) {
		err = errors.Join(err, fmt.Errorf("end holder of user namespace: %w", kerr))
	}
	if _, werr := p.Wait(); werr != nil {
		err = errors.Join(err, fmt.Errorf("wait for holder of user namespace: %w", werr))
	}
	return err
}
