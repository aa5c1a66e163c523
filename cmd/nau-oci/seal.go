package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"nau/internal/oci"
)

// seal makes sure that this program runs from a file that no container can write through /proc/PID/exe, in which
// processes on their way into a container show it (the class of CVE-2019-5736). If it does not, it executes itself once
// more from a read-only mount that is in no namespace, or, where it may not mount, from a sealed copy in memory.
func seal() error {
	if oci.Sealed() == nil {
		return nil
	}
	if os.Getenv(sealedEnv) != "" {
		return fmt.Errorf("seal own executable: the sealed copy is not sealed")
	}
	fd, err := readOnlyMount()
	if err != nil {
		if fd, err = memoryCopy(); err != nil {
			return fmt.Errorf("seal own executable: %w", err)
		}
	}
	env := append(os.Environ(), sealedEnv+"=1")
	argv, err := pointers(os.Args)
	if err != nil {
		return err
	}
	envp, err := pointers(env)
	if err != nil {
		return err
	}
	return fmt.Errorf("seal own executable: execute copy: %w", execAt(fd, argv, envp))
}

const sealedEnv = "_NAU_OCI_SEALED"

func readOnlyMount() (int, error) {
	tree, err := unix.OpenTree(unix.AT_FDCWD, "/proc/self/exe", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, err
	}
	attr := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV, Propagation: unix.MS_PRIVATE}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, attr); err != nil {
		_ = unix.Close(tree)
		return -1, err
	}
	return tree, nil
}

func memoryCopy() (int, error) {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return -1, err
	}
	defer self.Close()
	info, err := self.Stat()
	if err != nil {
		return -1, err
	}
	fd, err := unix.MemfdCreate("nau-oci", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_EXEC)
	if err != nil {
		return -1, err
	}
	for left := info.Size(); left > 0; {
		n, err := unix.Sendfile(fd, int(self.Fd()), nil, int(left))
		if err != nil || n == 0 {
			_ = unix.Close(fd)
			return -1, fmt.Errorf("copy executable: %w", err)
		}
		left -= int64(n)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("seal copy: %w", err)
	}
	return fd, nil
}
