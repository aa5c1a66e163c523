package main

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sigaction is the kernel's struct, the same on amd64 and arm64.
type sigaction struct {
	handler, flags, restorer uintptr
	mask                     uint64
}

const (
	defaultAction = 0
	ignoreAction  = 1
	lastSignal    = 64
)

// heedSignals gives every ignored signal its default action back. Whoever
// starts us may ignore some (nohup SIGHUP, glibc's posix_spawn its two internal
// ones), and what is ignored is inherited, by containers too.
func heedSignals() error {
	for signal := uintptr(1); signal <= lastSignal; signal++ {
		var now sigaction
		if _, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, signal, 0, uintptr(unsafe.Pointer(&now)), unsafe.Sizeof(now.mask), 0, 0); errno != 0 {
			return fmt.Errorf("read action of signal %d: %w", signal, errno)
		}
		if now.handler != ignoreAction {
			continue
		}
		now = sigaction{handler: defaultAction}
		if _, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, signal, uintptr(unsafe.Pointer(&now)), 0, unsafe.Sizeof(now.mask), 0, 0); errno != 0 {
			return fmt.Errorf("reset action of signal %d: %w", signal, errno)
		}
	}
	return nil
}
