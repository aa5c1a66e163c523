package main

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

func pointers(list []string) ([]*byte, error) { return syscall.SlicePtrFromStrings(list) }

// execAt executes the file fd in place of this program.
func execAt(fd int, argv, envp []*byte) error {
	empty := []byte{0}
	_, _, e := syscall.Syscall6(unix.SYS_EXECVEAT, uintptr(fd), uintptr(unsafe.Pointer(&empty[0])), uintptr(unsafe.Pointer(&argv[0])),
		uintptr(unsafe.Pointer(&envp[0])), unix.AT_EMPTY_PATH, 0)
	return e
}
