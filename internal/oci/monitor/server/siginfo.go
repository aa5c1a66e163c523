package server

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// siginfoPid is the field si_pid: behind three ints, padded to the alignment of a pointer.
func siginfoPid(si *unix.Siginfo) int {
	return int(*(*int32)(unsafe.Add(unsafe.Pointer(si), 16)))
}
