// Package testbed runs a package's tests in namespaces of their own, so that no packet, mount or rule of a test reaches the machine.
//
// It is for tests only: a TestMain calls Main. Without the rights for namespaces the tests run where they are, and Isolated is false.
package testbed

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const mark = "NAU_TESTBED"

// Isolated reports whether this process runs in namespaces of its own.
func Isolated() bool { return os.Getenv(mark) == "inside" }

// Need skips a test that must not run on the bare machine.
func Need(t testing.TB) {
	t.Helper()
	if !Isolated() {
		t.Skip("needs root and namespaces of its own")
	}
}

// Main runs the tests of m in a new network and mount namespace when this process may make one, and exits.
func Main(m *testing.M) {
	if Isolated() {
		// Mounts made here must not travel back.
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			panic(err)
		}
		os.Exit(m.Run())
	}
	if os.Geteuid() != 0 {
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), mark+"=inside")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		os.Exit(0)
	case errors.As(err, &exit):
		os.Exit(exit.ExitCode())
	case errors.Is(err, syscall.EPERM):
		os.Exit(m.Run())
	}
	panic(err)
}
