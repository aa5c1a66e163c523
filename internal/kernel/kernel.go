// Package kernel is the one door to the system calls that the standard library does not wrap: namespaces, the new mount
// API, openat2, pidfds, cgroup hierarchies, and probes for what this kernel can do. The helpers are thin and typed: they
// hold no state but the probes' answers, and decide nothing.
//
// It is not a runtime and knows no container. Everything below engine, oci, proxy and cluster may import it; it imports
// golang.org/x/sys only.
package kernel

import (
	"fmt"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// OpenPath opens path as a handle that names a file without access to its content.
func OpenPath(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", path, err)
	}
	return fd, nil
}

// OnThread runs f on an operating system thread of its own, which ends with f: f may change what belongs to a thread
// (namespaces, root, working directory, credentials) without undoing it. It is never the process's first thread, which
// cannot end, and whose namespaces are what /proc/self shows.
func OnThread(f func() error) error {
	done := make(chan error, 1)
	go onThread(f, done)
	return <-done
}

func onThread(f func() error, done chan<- error) {
	// Never unlocked: the runtime ends the thread when this goroutine returns.
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// While this goroutine keeps the first thread, another one must get another thread.
		inner := make(chan error, 1)
		go onThread(f, inner)
		err := <-inner
		runtime.UnlockOSThread()
		done <- err
		return
	}
	done <- f()
}

// Excursion is OnThread for f that leaves the thread in namespaces of the kinds of flags and changes nothing else of it. The
// thread goes back to those of the program's first thread, which is cheaper than another thread; one that cannot, ends.
func Excursion(flags int, f func() error) error {
	return OnThread(func() error {
		err := f()
		if home, herr := firstThread(); herr == nil && unix.Setns(home, flags) == nil {
			runtime.UnlockOSThread()
		}
		return err
	})
}

// firstThread is a handle of the thread that stays in the namespaces that the program was begun in.
var firstThread = sync.OnceValues(func() (int, error) { return unix.PidfdOpen(unix.Getpid(), 0) })

var procRoot = sync.OnceValues(func() (int, error) {
	fd, err := unix.Open("/proc", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return -1, fmt.Errorf("open /proc: %w", err)
	}
	if err := IsProc(fd); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
})

// Proc is a handle of the host's procfs, proven to be one, opened once and kept. It stays good whatever namespace or root
// a thread changes to. Fails where /proc is something else.
func Proc() (int, error) { return procRoot() }

// IsProc proves with fstatfs that fd lies on a procfs.
func IsProc(fd int) error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return fmt.Errorf("fstatfs of proc: %w", err)
	}
	if int64(st.Type) != unix.PROC_SUPER_MAGIC {
		return fmt.Errorf("/proc is not a procfs: its type is %#x", st.Type)
	}
	return nil
}

// OpenProc opens a file below the host's procfs, and proves that the file is of procfs and that nothing is mounted in
// between. path is relative: "self/status", "sys/net/ipv4/ip_forward". Links of procfs such as self are followed, magic
// links and mounts are not. Of a thread, "thread-self" and a thread's own number work.
func OpenProc(path string, flags int) (int, error) {
	root, err := Proc()
	if err != nil {
		return -1, err
	}
	if flags&unix.O_PATH == 0 { // openat2 refuses the two together
		flags |= unix.O_NOCTTY
	}
	fd, err := openat2(root, path, &unix.OpenHow{
		Flags:   uint64(flags | unix.O_CLOEXEC),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	})
	if err != nil {
		return -1, fmt.Errorf("open /proc/%s: %w", path, err)
	}
	if err := IsProc(fd); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// WriteProc writes value to a file below the host's procfs with OpenProc's proofs.
func WriteProc(path, value string) error {
	fd, err := OpenProc(path, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte(value)); err != nil {
		return fmt.Errorf("write /proc/%s: %w", path, err)
	}
	return nil
}

// OpenProcLink opens what a magic link below the host's procfs points to, such as "PID/ns/net" or "PID/root". The folder
// of the link is proven to be procfs first.
func OpenProcLink(dir, name string, flags int) (int, error) {
	at, err := OpenProc(dir, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return -1, err
	}
	defer unix.Close(at)
	fd, err := unix.Openat(at, name, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open /proc/%s/%s: %w", dir, name, err)
	}
	return fd, nil
}

func openat2(dir int, path string, how *unix.OpenHow) (int, error) {
	for tries := 0; ; tries++ {
		fd, err := unix.Openat2(dir, path, how)
		// EAGAIN: a rename or mount elsewhere raced with a lookup that must not leave its root; the kernel asks to try again.
		if (err == unix.EAGAIN || err == unix.EINTR) && tries < 128 {
			continue
		}
		return fd, err
	}
}

// FdPath is a path of the descriptor for calls that take none: valid while fd is open and on the same thread's files.
func FdPath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// Close closes descriptors, for deferred use.
func Close(fds ...int) {
	for _, fd := range fds {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

// File wraps fd, which it takes over.
func File(fd int, name string) *os.File { return os.NewFile(uintptr(fd), name) }
