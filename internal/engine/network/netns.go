package network

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Inside runs fn on another thread in the network namespace of ns (an open nsfs file). Sockets and files that fn opens stay in that namespace.
// fn must not start goroutines that rely on it.
func Inside(ns *os.File, fn func() error) error {
	done := make(chan error, 1)
	go inside(ns, fn, done)
	return <-done
}

func inside(ns *os.File, fn func() error, done chan<- error) {
	// The goroutine ends without unlocking unless the way back worked, so that a thread in a foreign namespace is never used again.
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// The first thread cannot end, and what /proc/self shows is its view: hold it while another thread does the work.
		inner := make(chan error, 1)
		go inside(ns, fn, inner)
		err := <-inner
		runtime.UnlockOSThread()
		done <- err
		return
	}
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		done <- err
		return
	}
	defer home.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		done <- fmt.Errorf("enter network namespace %s: %w", ns.Name(), err)
		return
	}
	err = fn()
	if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
		runtime.UnlockOSThread()
	}
	done <- err
}
