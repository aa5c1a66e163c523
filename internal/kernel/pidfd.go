package kernel

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// PidfdInfoExit asks for the exit status: linux/pidfd.h.
const PidfdInfoExit = 1 << 3

// Process is a process held by a descriptor: its number cannot come to mean another process.
type Process struct {
	Pid  int
	file *os.File
	raw  syscall.RawConn
}

// OpenProcess takes hold of a living process. A process that is gone gives ESRCH.
func OpenProcess(pid int) (*Process, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	return NewProcess(pid, fd)
}

// NewProcess takes over a pidfd.
func NewProcess(pid, pidfd int) (*Process, error) {
	if err := unix.SetNonblock(pidfd, true); err != nil {
		_ = unix.Close(pidfd)
		return nil, fmt.Errorf("set pidfd non-blocking: %w", err)
	}
	p := &Process{Pid: pid, file: os.NewFile(uintptr(pidfd), "pidfd")}
	raw, err := p.file.SyscallConn()
	if err != nil {
		_ = p.file.Close()
		return nil, err
	}
	p.raw = raw
	return p, nil
}

// Close lets go of the process, which is not affected.
func (p *Process) Close() error { return p.file.Close() }

// Signal sends a signal. A process that has ended gives ESRCH.
func (p *Process) Signal(sig syscall.Signal) error {
	var sent error
	err := p.raw.Control(func(fd uintptr) { sent = unix.PidfdSendSignal(int(fd), sig, nil, 0) })
	return errors.Join(err, sent)
}

// Fd runs f with the pidfd.
func (p *Process) Fd(f func(fd int) error) error {
	var inner error
	if err := p.raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// reapPatience is how long a process's parent is given to reap it.
const reapPatience = 2 * time.Second

// Wait blocks, without a thread, until the process has ended, and tells how: a child is reaped; of another process the
// kernel is asked through PIDFD_GET_INFO, and known is false where it does not tell.
func (p *Process) Wait() (status syscall.WaitStatus, known bool, err error) {
	unreaped := false
	err = p.raw.Read(func(fd uintptr) bool {
		var si unix.Siginfo
		e := unix.Waitid(unix.P_PIDFD, int(fd), &si, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		switch {
		case e == unix.EINTR || e == unix.EAGAIN:
			return false
		case e == nil && si.Signo == 0:
			return false // a child that lives
		case e == nil:
			var ws unix.WaitStatus
			if _, e := unix.Wait4(p.Pid, &ws, unix.WNOHANG|unix.WALL, nil); e == nil {
				status, known = syscall.WaitStatus(ws), true
			}
			return true
		}
		// Not a child: readable once it has ended, hung up once its parent has reaped it. Only then does the pidfd tell how
		// it ended.
		pfd := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if n, _ := unix.Poll(pfd, 0); n == 0 {
			return false
		}
		info := &unix.PidfdInfo{Mask: PidfdInfoExit}
		if unix.IoctlPidfdInfo(int(fd), info) == nil && info.Mask&PidfdInfoExit != 0 {
			status, known = syscall.WaitStatus(info.Exit_code), true
			return true
		}
		// Not reaped yet: its zombie tells. That it still was this process's is proven by its not being reaped afterwards.
		if code, err := zombieStatus(p.Pid); err == nil {
			if n, _ := unix.Poll(pfd, 0); n > 0 && pfd[0].Revents&unix.POLLHUP == 0 {
				status, known = code, true
				return true
			}
		}
		if unix.IoctlPidfdInfo(int(fd), info) == nil && info.Mask&PidfdInfoExit != 0 {
			status, known = syscall.WaitStatus(info.Exit_code), true
			return true
		}
		if pfd[0].Revents&unix.POLLHUP != 0 || unreaped || !PidfdInfo.Can() {
			return true
		}
		unreaped = true
		_ = p.file.SetReadDeadline(time.Now().Add(reapPatience))
		return false
	})
	if unreaped && errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("wait for process %d: %w", p.Pid, err)
	}
	return status, known, nil
}

// Ended tells how the process ended, if it has and the kernel still tells: Wait for one that need not have ended.
func (p *Process) Ended() (status syscall.WaitStatus, known bool) {
	ended := false
	if err := p.raw.Control(func(fd uintptr) {
		n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		ended = n > 0
	}); err != nil || !ended {
		return 0, false
	}
	status, known, err := p.Wait()
	return status, known && err == nil
}

// zombieStatus reads how an unreaped process ended, field 52 of proc_pid_stat(5), which root may see.
func zombieStatus(pid int) (syscall.WaitStatus, error) {
	fd, err := OpenProc(strconv.Itoa(pid)+"/stat", unix.O_RDONLY)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	buf := make([]byte, 1024)
	n, err := unix.Read(fd, buf)
	if err != nil {
		return 0, fmt.Errorf("read process %d: %w", pid, err)
	}
	return parseZombie(string(buf[:n]))
}

func parseZombie(stat string) (syscall.WaitStatus, error) {
	// The name, field 2, may hold anything, parentheses too.
	f := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(f) < 50 || f[0] != "Z" {
		return 0, errors.New("read zombie: the process is none")
	}
	code, err := strconv.ParseUint(f[49], 10, 32)
	if err != nil {
		return 0, fmt.Errorf("read zombie: %w", err)
	}
	return syscall.WaitStatus(code), nil
}
