package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"nau/internal/kernel"
)

const cgroupRoot = "/sys/fs/cgroup"

// hierarchies lists the mounted cgroup hierarchies: one on a unified host, one for each controller otherwise.
func hierarchies() []string {
	if _, err := os.Stat(filepath.Join(cgroupRoot, "cgroup.controllers")); err == nil {
		return []string{cgroupRoot}
	}
	entries, err := os.ReadDir(cgroupRoot)
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, filepath.Join(cgroupRoot, e.Name()))
		}
	}
	return out
}

// RemoveCgroup removes a cgroup and those below it from every hierarchy. What does not exist is fine; what has processes is an error.
func RemoveCgroup(path string) error {
	if path == "" || filepath.Clean(path) == "/" {
		return nil
	}
	var errs []error
	for _, h := range hierarchies() {
		errs = append(errs, removeTree(filepath.Join(h, path)))
	}
	return errors.Join(errs...)
}

// ClearCgroup is RemoveCgroup for a cgroup in which nothing has a right to live any more: processes that nobody knows of, because who made
// them died, are killed.
func ClearCgroup(path string) error {
	err := RemoveCgroup(path)
	for try := time.Millisecond; errors.Is(err, unix.EBUSY) && try < time.Second; try *= 2 {
		for _, h := range hierarchies() {
			if kerr := killTree(filepath.Join(h, path)); kerr != nil {
				return errors.Join(err, kerr)
			}
		}
		if err = RemoveCgroup(path); errors.Is(err, unix.EBUSY) {
			time.Sleep(try) // a zombie keeps its cgroup until it is reaped, and nothing tells
		}
	}
	return err
}

// killTree kills the processes of a cgroup and those below it, and waits for their ends.
func killTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && !d.IsDir() {
			return nil
		}
		if err != nil {
			return err
		}
		b, err := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("list processes of cgroup %s: %w", path, err)
		}
		if frozen := filepath.Join(path, "freezer.state"); len(b) > 0 && exists(frozen) {
			_ = os.WriteFile(frozen, []byte("THAWED"), 0) // version 1: a frozen process does not die
		}
		for _, f := range bytes.Fields(b) {
			if pid, err := strconv.Atoi(string(f)); err == nil && pid > 0 {
				end(pid)
			}
		}
		return nil
	})
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// end kills a process and waits until it has ended.
func end(pid int) {
	p, err := kernel.OpenProcess(pid)
	if err != nil {
		return // gone
	}
	defer p.Close()
	if p.Signal(unix.SIGKILL) == nil {
		_, _, _ = p.Wait()
	}
}

func removeTree(dir string) error {
	err := unix.Rmdir(dir)
	if err == nil || err == unix.ENOENT {
		return nil
	}
	entries, rerr := os.ReadDir(dir)
	if rerr != nil {
		if errors.Is(rerr, fs.ErrNotExist) {
			return nil
		}
		return rerr
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && err != unix.ENOENT {
		return fmt.Errorf("remove cgroup %s: %w", dir, err)
	}
	return nil
}
