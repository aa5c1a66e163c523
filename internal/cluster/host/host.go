// Package host is what an instance of Nau is on its machine: the directory of
// its run-time files, the pid file that makes it the only one there, the way it
// goes to the background, and the address that it shows to others. Only cluster
// and cmd/nau import it.
package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrRunning says that another process holds the run directory.
var ErrRunning = errors.New("already running")

// Lock is the right to use a run directory; it ends with the process.
type Lock struct{ file *os.File }

// Acquire takes the run directory for this process and writes nau.pid. The lock
// is flock's, so that a pid left by a crash or a reboot never misleads.
func Acquire(runDir string) (*Lock, error) {
	if err := os.MkdirAll(runDir, 0o755); err != nil {
		return nil, fmt.Errorf("make run directory: %w", err)
	}
	file, err := os.OpenFile(pidPath(runDir), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open pid file: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		file.Close()
		pid, _ := readPid(runDir)
		return nil, fmt.Errorf("nau is %w in %s (pid %d); `nau status` shows it, `nau down` stops it", ErrRunning, runDir, pid)
	}
	if err := file.Truncate(0); err != nil {
		return nil, err
	}
	if _, err := file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		return nil, fmt.Errorf("write pid file: %w", err)
	}
	return &Lock{file}, nil
}

// Release gives the directory back.
func (l *Lock) Release() {
	os.Remove(l.file.Name())
	l.file.Close()
}

func pidPath(runDir string) string { return filepath.Join(runDir, "nau.pid") }

func readPid(runDir string) (int, error) {
	data, err := os.ReadFile(pidPath(runDir))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(data)))
}

// Running gives the process that holds the run directory, if any.
func Running(runDir string) (pid int, ok bool) {
	file, err := os.Open(pidPath(runDir))
	if err != nil {
		return 0, false
	}
	defer file.Close()
	if err := unix.Flock(int(file.Fd()), unix.LOCK_SH|unix.LOCK_NB); err == nil {
		return 0, false
	}
	pid, err = readPid(runDir)
	return pid, err == nil && pid > 0
}

// Stop asks the process that holds the run directory to end and waits until it
// has. It signals through a pidfd taken before the lock is checked again, so
// that a recycled pid is never hit. After grace it is killed.
func Stop(runDir string, graceMillis int) (wasRunning bool, err error) {
	pid, ok := Running(runDir)
	if !ok {
		return false, nil
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false, nil // it ended meanwhile
	}
	defer unix.Close(fd)
	if again, ok := Running(runDir); !ok || again != pid {
		return false, nil
	}
	for _, signal := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		if err := unix.PidfdSendSignal(fd, signal, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return true, fmt.Errorf("stop process %d: %w", pid, err)
		}
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		for {
			n, err := unix.Poll(poll, graceMillis)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if n > 0 {
				return true, nil
			}
			break
		}
	}
	return true, fmt.Errorf("stop process %d: it does not end", pid)
}
