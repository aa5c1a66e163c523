package child

import (
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The two functions with which package syscall brackets its own fork: block signals and forbid stack growth; undo that.

//go:linkname beforeFork syscall.runtime_BeforeFork
func beforeFork()

//go:linkname afterFork syscall.runtime_AfterFork
func afterFork()

// clone makes the process, which calls run with the last three arguments.
//
//go:noescape
func clone(args *cloneArgs, size uintptr, steps *step, n int, report uintptr) (pid, errno uintptr)

// fork clones the process and, in the child, walks the steps. The child's memory is a copy, so it may be alive for long
// while the parent goes on; it has no heap, so it runs on a stack in the program's region.
//
//go:norace
func fork(args *cloneArgs, p *Program, report uintptr) (pid uintptr, errno syscall.Errno) {
	mem := p.memory()
	// The runtime blocks signals on this thread until the clone is made. The program that is executed gets what was before.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var mask uint64
	if _, _, e := syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, 0, 0, uintptr(unsafe.Pointer(&mask)), unsafe.Sizeof(mask), 0, 0); e != 0 {
		return 0, e
	}
	const setMask = 2
	p.steps[0] = step{nr: unix.SYS_RT_SIGPROCMASK, args: [6]uintptr{setMask, Pointer(p, &mask), 0, unsafe.Sizeof(mask)}, save: noReg, load: noReg}
	steps := Slice(p, p.steps)
	stack := mem.alloc(stackSize)
	args.stack, args.stackSize = uint64(uintptr(stack)), stackSize
	// Handlers are code of the parent's: the child begins with none.
	args.flags |= unix.CLONE_CLEAR_SIGHAND
	if storage != 0 {
		// What Go code would find its goroutine by; run and what it calls do not look at it.
		args.flags |= unix.CLONE_SETTLS
		args.tls = uint64(uintptr(mem.alloc(storage))) + storage/2
	}
	beforeFork()
	n, e := clone(args, unsafe.Sizeof(*args), steps, len(p.steps), report)
	afterFork()
	return n, syscall.Errno(e)
}

// run is the child. The first step is not one of the program's. It allocates nothing, calls nothing but raw system calls, and does not return.
//
//lint:ignore U1000 clone_*.s calls it
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
			tell(report, uint32(i-1), 0, uint32(value))
			continue
		case kindFail:
			tell(report, uint32(at-1), uint32(last), 0)
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
			tell(report, uint32(i-1), uint32(e), 0)
			exit(127)
		case e != 0:
			if e == syscall.Errno(s.tolerate[0]) || e == syscall.Errno(s.tolerate[1]) || e == syscall.Errno(s.tolerate[2]) {
				continue
			}
			tell(report, uint32(i-1), uint32(e), 0)
			exit(1)
		case s.kind == kindFork && r != 0:
			tell(report, uint32(i-1), 0, uint32(r))
			exit(0)
		case s.kind == kindInside:
			if *s.buf != '/' {
				tell(report, uint32(i-1), uint32(syscall.EXDEV), 0)
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
