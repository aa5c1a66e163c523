package oci

import (
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"nau/internal/kernel"
)

// Processes are made where none of the host's mounts are, so that a start costs the same however many containers run.
func TestBareMountsAreEmpty(t *testing.T) {
	if err := kernel.Root.Check(); err != nil {
		t.Skip(err)
	}
	bare := bareMounts()
	if bare < 0 {
		t.Fatal("there is no bare mount namespace")
	}
	if bareMounts() != bare {
		t.Error("there are several")
	}
	var mounts []byte
	var names []string
	var write error
	err := kernel.OnThread(func() error {
		if err := kernel.JoinThread(bare, kernel.Mount); err != nil {
			return err
		}
		fd, err := kernel.OpenProc("thread-self/mountinfo", unix.O_RDONLY)
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(fd), "mountinfo")
		defer f.Close()
		if mounts, err = io.ReadAll(f); err != nil {
			return err
		}
		write = os.Mkdir("/made", 0o755)
		names, err = readNames("/")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(mounts), "\n"); n != 1 || len(names) != 0 {
		t.Errorf("%d mounts, names %v:\n%s", n, names, mounts)
	}
	if write == nil {
		t.Error("the empty root can be written to")
	}
}

func readNames(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}
