package main

import (
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"nau/internal/kernel"
)

// terminal joins our own terminal with a container's.
type terminal struct {
	master *os.File
	old    *unix.Termios
	copied chan struct{}
}

// joinTerminal copies between our streams and the container's terminal, if it has one that is ours to serve.
func joinTerminal(master int, ours bool) *terminal {
	t := &terminal{}
	if master < 0 {
		return t
	}
	if !ours {
		kernel.Close(master)
		return t
	}
	_ = unix.SetNonblock(master, true)
	t.master = os.NewFile(uintptr(master), "terminal")
	if old, err := unix.IoctlGetTermios(0, unix.TCGETS); err == nil {
		t.old = old
		raw := *old
		raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
		raw.Oflag &^= unix.OPOST
		raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
		raw.Cflag = raw.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
		raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
		_ = unix.IoctlSetTermios(0, unix.TCSETS, &raw)
	}
	t.resize()
	t.copied = make(chan struct{})
	go func() { _, _ = io.Copy(t.master, os.Stdin) }()
	go func() {
		_, _ = io.Copy(os.Stdout, t.master)
		close(t.copied)
	}()
	return t
}

func (t *terminal) resize() {
	if t.master == nil {
		return
	}
	if size, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ); err == nil {
		_ = unix.IoctlSetWinsize(int(t.master.Fd()), unix.TIOCSWINSZ, size)
	}
}

func (t *terminal) restore() {
	if t.old != nil {
		_ = unix.IoctlSetTermios(0, unix.TCSETS, t.old)
		t.old = nil
	}
}

// supervise passes signals on until the process has ended, and tells its exit code.
func supervise(pid, pidfd int, signals <-chan os.Signal, t *terminal) int {
	ended := make(chan int, 1)
	go func() {
		var ws unix.WaitStatus
		for {
			if _, err := unix.Wait4(pid, &ws, unix.WALL, nil); err != unix.EINTR {
				break
			}
		}
		code := ws.ExitStatus()
		if ws.Signaled() {
			code = 128 + int(ws.Signal())
		}
		ended <- code
	}()
	for {
		select {
		case code := <-ended:
			if t.copied != nil {
				<-t.copied // until the terminal hangs up: all output is out
			}
			return code
		case s := <-signals:
			switch s {
			case syscall.SIGCHLD, syscall.SIGURG, syscall.SIGPIPE:
			case syscall.SIGWINCH:
				t.resize()
			default:
				_ = unix.PidfdSendSignal(pidfd, s.(syscall.Signal), nil, 0)
			}
		}
	}
}
