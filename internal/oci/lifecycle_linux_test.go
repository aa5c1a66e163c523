package oci

import (
	"errors"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// Between the look at a container's process and the signal the process may end and be waited for: that is the container's state, not a fault.
func TestSignalEnded(t *testing.T) {
	cmd := exec.Command("/proc/self/exe", "-test.run", "^$")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	c := &Container{}
	c.record.ID = "c1"
	if err := c.send(fd, unix.SIGTERM); !errors.Is(err, ErrState) {
		t.Errorf("signal a process that has ended: %v, want ErrState", err)
	}
}
