package child

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The three functions with which package syscall brackets its own fork: block signals and forbid stack growth; undo that
// in the parent; in the child, set the signal handlers back to what an executed program should see.

//go:linkname beforeFork syscall.runtime_BeforeFork
func beforeFork()

//go:linkname afterFork syscall.runtime_AfterFork
func afterFork()

//go:linkname afterForkInChild syscall.runtime_AfterForkInChild
func afterForkInChild()

// fork clones the process and, in the child, walks the steps. The child's memory is a copy, so it may be alive for long
// while the parent goes on.
//
//go:noinline
//go:norace
func fork(args *cloneArgs, steps *step, n int, report uintptr) (pid uintptr, errno syscall.Errno) {
	beforeFork()
	pid, _, errno = syscall.RawSyscall6(unix.SYS_CLONE3, uintptr(unsafe.Pointer(args)), unsafe.Sizeof(*args), 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		afterFork()
		return pid, errno
	}
	afterForkInChild()
	run(steps, n, report)
	return 0, 0
}

// run is the child. It allocates nothing, calls nothing but raw system calls, and does not return.
//
//go:nosplit
//go:norace
func run(steps *step, n int, report uintptr) {
	var regs [registers]uintptr
	var last syscall.Errno = syscall.ENOENT
	var at int
	for i := 0; i < n; i++ {
		s := (*step)(unsafe.Add(unsafe.Pointer(steps), uintptr(i)*unsafe.Sizeof(*steps)))
		first := s.args[0]
		if s.load < registers {
			first = regs[s.load]
		}
		switch s.kind {
		case kindAwait:
			for {
				r, _, e := syscall.RawSyscall6(unix.SYS_READ, first, s.args[1], 1, 0, 0, 0)
				if e == syscall.EINTR {
					continue
				}
				if e != 0 || r != 1 {
					exit(0)
				}
				break
			}
			continue
		case kindReady:
			value := uintptr(0)
			if s.load < registers {
				value = first
			}
			tell(report, uint32(i), 0, uint32(value))
			continue
		case kindFail:
			tell(report, uint32(at), uint32(last), 0)
			exit(127)
		}
		if s.nr == sysReportTo {
			report = first
			continue
		}
		r, _, e := syscall.RawSyscall6(s.nr, first, s.args[1], s.args[2], s.args[3], s.args[4], s.args[5])
		switch {
		case s.kind == kindExec:
			// Only reached when the execution failed. EACCES is remembered over a later ENOENT, as execvp does.
			if last == syscall.ENOENT {
				last, at = e, i
			}
			if e == syscall.ENOENT || e == syscall.ENOTDIR || e == syscall.EACCES {
				continue
			}
			tell(report, uint32(i), uint32(e), 0)
			exit(127)
		case e != 0:
			if e == syscall.Errno(s.tolerate[0]) || e == syscall.Errno(s.tolerate[1]) || e == syscall.Errno(s.tolerate[2]) {
				continue
			}
			tell(report, uint32(i), uint32(e), 0)
			exit(1)
		case s.kind == kindFork && r != 0:
			tell(report, uint32(i), 0, uint32(r))
			exit(0)
		case s.kind == kindInside:
			if *s.buf != '/' {
				tell(report, uint32(i), uint32(syscall.EXDEV), 0)
				exit(1)
			}
		}
		if s.save < registers {
			regs[s.save] = r
		}
	}
	exit(0)
}

//go:nosplit
//go:norace
func tell(fd uintptr, at, errno, value uint32) {
	b := [3]uint32{at, errno, value}
	syscall.RawSyscall6(unix.SYS_WRITE, fd, uintptr(unsafe.Pointer(&b)), unsafe.Sizeof(b), 0, 0, 0)
}

//go:nosplit
//go:norace
func exit(code uintptr) {
	for {
		syscall.RawSyscall6(unix.SYS_EXIT_GROUP, code, 0, 0, 0, 0, 0)
	}
}
