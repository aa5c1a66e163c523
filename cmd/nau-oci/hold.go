package main

import (
	"errors"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// initName is what the program is called inside a container that asked for an init (docker run --init).
const initName = "docker-init"

// hold is process 1 of a PID namespace. Without a command it reaps what others leave and ends when it is told to; with one it runs it,
// passes signals on, reaps, and ends as the command did.
func hold(_ *global, args []string) error {
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	signals := make(chan os.Signal, 64)
	if len(args) == 0 {
		signal.Notify(signals, unix.SIGCHLD, unix.SIGTERM, unix.SIGINT)
	} else {
		signal.Notify(signals)
	}
	child := 0
	if len(args) > 0 {
		var err error
		if child, err = begin(args); err != nil {
			return err
		}
	}
	for s := range signals {
		switch s {
		case unix.SIGCHLD:
			if code, ended := reap(child); ended {
				return code
			}
		case unix.SIGURG: // the Go runtime's own
		default:
			if child == 0 {
				return nil
			}
			_ = unix.Kill(child, s.(syscall.Signal))
		}
	}
	return nil
}

// begin starts the command; on a terminal it becomes the foreground, so that keys reach it once.
func begin(args []string) (pid int, err error) {
	path, err := find(args[0])
	if err != nil {
		return 0, notStarted(args[0], err)
	}
	attr := &syscall.SysProcAttr{}
	if _, err := unix.IoctlGetInt(0, unix.TIOCGPGRP); err == nil {
		attr.Setpgid, attr.Foreground = true, true
		signal.Ignore(unix.SIGTTOU)
	}
	pid, err = syscall.ForkExec(path, args, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}, Sys: attr})
	if err != nil {
		return 0, notStarted(args[0], err)
	}
	return pid, nil
}

// find looks a program up in PATH. os/exec would be one more package for every container start to initialise.
func find(name string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		path := filepath.Join(dir, name)
		if st, err := os.Stat(path); err == nil && !st.IsDir() && st.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", errors.New("executable file not found in $PATH")
}

// notStarted says why, and ends as a shell would.
func notStarted(name string, err error) error {
	_, _ = os.Stderr.WriteString("exec: " + name + ": " + err.Error() + "\n")
	if errors.Is(err, fs.ErrPermission) {
		return exitCode(126)
	}
	return exitCode(127)
}

// reap takes all that have ended; ended is true when child is among them.
func reap(child int) (code error, ended bool) {
	for {
		var st unix.WaitStatus
		pid, err := unix.Wait4(-1, &st, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if pid <= 0 || err != nil {
			return code, ended
		}
		if pid == child {
			ended = true
			if n := st.ExitStatus(); st.Signaled() {
				code = exitCode(128 + int(st.Signal()))
			} else if n != 0 {
				code = exitCode(n)
			}
		}
	}
}
