// Package child makes a process whose first actions are a list of system calls prepared by its parent.
//
// A Go program has many threads, so a forked copy of it can run no Go code that allocates, locks or grows a stack; the
// usual way out is a second program that is executed in the child. A container's start can do without: everything that
// needs thought is decided in the parent, and what is left for the child (join this, become that user, install this
// filter, wait for a byte, execute) is data: a Program. The child walks it with raw system calls only and, if a step
// fails, tells its number and the error over a pipe. The Program lies outside the Go heap, of which the child has no copy.
//
// It is not a general fork: a Program cannot branch. Only internal/oci may import it.
package child

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// kinds of step, see run.
const (
	kindCall   = iota // fail on an error that is not tolerated
	kindAwait         // read one byte from a descriptor; end quietly if there is none
	kindReady         // write a report with no error
	kindExec          // execve; a missing file lets the next candidate be tried
	kindFork          // clone3: go on in the new process, report its number and end in the old one
	kindInside        // the buffer of the call must start with '/': the working directory is below the root
	kindFail          // end with the error of the last candidate
)

const noReg = 0xff

type step struct {
	nr       uintptr
	args     [6]uintptr
	tolerate [3]uintptr
	buf      *byte // what kindInside looks at, in the region
	kind     uint8
	save     uint8 // register for the result
	load     uint8 // register for the first argument
}

// Program is a list of steps under construction. The zero value is empty and ready. It may be run once.
type Program struct {
	steps []step // the first is fork's
	names []string
	mem   *region
}

// memory is the program's region, which goes with the program should that never be started.
func (p *Program) memory() *region {
	if p.mem == nil {
		alone()
		p.mem = &region{}
		runtime.AddCleanup(p, (*region).free, p.mem)
	}
	return p.mem
}

// Reg holds a step's result for a later step.
type Reg uint8

// registers is how many results a program can keep.
const registers = 4

func (p *Program) add(name string, s step) {
	if len(p.steps) == 0 {
		const usual = 192 // a container's
		p.steps, p.names = make([]step, 1, usual), make([]string, 0, usual)
	}
	p.steps = append(p.steps, s)
	p.names = append(p.names, name)
}

// Call adds a system call. name says in an error what was tried: "set user". Arguments that are pointers must come from
// the helpers of Program, which keep their targets alive.
func (p *Program) Call(name string, nr uintptr, args ...uintptr) *Call {
	s := step{nr: nr, save: noReg, load: noReg}
	copy(s.args[:], args)
	p.add(name, s)
	return &Call{p, len(p.steps) - 1}
}

// Call is a step that was added, to be refined.
type Call struct {
	p *Program
	i int
}

// Tolerate lets the program go on after one of up to three errors.
func (c *Call) Tolerate(errs ...syscall.Errno) *Call {
	for i, e := range errs {
		c.p.steps[c.i].tolerate[i] = uintptr(e)
	}
	return c
}

// Save keeps the result in a register.
func (c *Call) Save(r Reg) *Call { c.p.steps[c.i].save = uint8(r); return c }

// Load takes the first argument from a register. Registers are 0 to 3.
func (c *Call) Load(r Reg) *Call { c.p.steps[c.i].load = uint8(r); return c }

// Await adds a wait for one byte of fd. If the other end is gone the child ends without a report.
func (p *Program) Await(fd int) {
	p.add("wait", step{kind: kindAwait, args: [6]uintptr{uintptr(fd), p.Bytes(make([]byte, 8)), 1}, save: noReg, load: noReg})
}

// Ready adds a report: Next of the parent's Reports returns.
func (p *Program) Ready() {
	p.add("report", step{kind: kindReady, save: noReg, load: noReg})
}

// Tell is Ready with a step's result as the report's value.
func (p *Program) Tell(r Reg) {
	p.add("report", step{kind: kindReady, save: noReg, load: uint8(r)})
}

// ReportTo sends what the following steps report to another descriptor.
func (p *Program) ReportTo(fd int) {
	p.add("report to", step{kind: kindCall, nr: sysReportTo, args: [6]uintptr{uintptr(fd)}, save: noReg, load: noReg})
}

// sysReportTo is no system call's number.
const sysReportTo = ^uintptr(0)

// Fork adds a further clone3 inside the child: the new process goes on with the next step, the old one reports its number
// and ends. The flags should have CLONE_PARENT, so that the new process is the caller's child too.
func (p *Program) Fork(flags uint64, cgroup int) {
	args := (*cloneArgs)(p.memory().alloc(int(unsafe.Sizeof(cloneArgs{}))))
	args.flags = flags
	if flags&unix.CLONE_PARENT == 0 {
		args.exitSignal = uint64(unix.SIGCHLD)
	}
	if cgroup >= 0 {
		args.flags, args.cgroup = args.flags|unix.CLONE_INTO_CGROUP, uint64(cgroup)
	}
	p.add("clone", step{kind: kindFork, nr: unix.SYS_CLONE3, args: [6]uintptr{uintptr(unsafe.Pointer(args)), unsafe.Sizeof(*args)}, save: noReg, load: noReg})
}

// Inside adds a proof that the working directory is below the root: getcwd gives a path that starts with '/'.
func (p *Program) Inside() {
	buf := (*byte)(p.memory().alloc(unix.PathMax))
	p.add("check working directory", step{kind: kindInside, buf: buf, nr: unix.SYS_GETCWD, args: [6]uintptr{uintptr(unsafe.Pointer(buf)), unix.PathMax}, save: noReg, load: noReg})
}

// Exec adds the end of the program: the first of the candidates that exists is executed.
func (p *Program) Exec(candidates, argv, env []string) error {
	argvp, err := p.memory().pointers(argv)
	if err != nil {
		return fmt.Errorf("arguments: %w", err)
	}
	envp, err := p.memory().pointers(env)
	if err != nil {
		return fmt.Errorf("environment: %w", err)
	}
	for _, c := range candidates {
		path, err := p.String(c)
		if err != nil {
			return err
		}
		p.add("exec "+c, step{kind: kindExec, nr: unix.SYS_EXECVE,
			args: [6]uintptr{path, argvp, envp}, save: noReg, load: noReg})
	}
	p.add("exec", step{kind: kindFail, save: noReg, load: noReg})
	return nil
}

// sigaction is the kernel's struct sigaction; its zero value is the default action.
type sigaction struct{ handler, flags, restorer, mask uintptr }

// heedSignals begins the program with the default action for the signals that this process ignores: nohup ignores one, and what is ignored
// stays so in whatever is executed. (Handlers are gone with CLONE_CLEAR_SIGHAND.)
func (p *Program) heedSignals() {
	const ignore, last = 1, 64
	steps, names := p.steps, p.names
	p.steps, p.names = nil, nil
	for sig := uintptr(1); sig <= last; sig++ {
		var now sigaction
		_, _, errno := syscall.RawSyscall6(unix.SYS_RT_SIGACTION, sig, 0, uintptr(unsafe.Pointer(&now)), unsafe.Sizeof(now.mask), 0, 0)
		if errno == 0 && now.handler == ignore {
			p.Call("heed signal "+strconv.Itoa(int(sig)), unix.SYS_RT_SIGACTION, sig, Pointer(p, &sigaction{}), 0, unsafe.Sizeof(now.mask))
		}
	}
	if len(p.steps) == 0 {
		p.steps, p.names = steps, names
		return
	}
	p.steps, p.names = append(p.steps, steps[1:]...), append(p.names, names...)
}

// String keeps a copy of s as a C string and returns its address.
func (p *Program) String(s string) (uintptr, error) {
	b, err := unix.ByteSliceFromString(s)
	if err != nil {
		return 0, fmt.Errorf("encode %q: %w", s, err)
	}
	return p.Bytes(b), nil
}

// Bytes keeps a copy of b and returns its address, 0 for none.
func (p *Program) Bytes(b []byte) uintptr {
	return uintptr(unsafe.Pointer(p.memory().copyIn(b)))
}

// Slice keeps a copy of s and returns its address, nil for none. T must hold no pointers but those that Slice and Pointer return.
func Slice[T any](p *Program, s []T) *T {
	if len(s) == 0 {
		return nil
	}
	at := (*T)(p.memory().alloc(len(s) * int(unsafe.Sizeof(s[0]))))
	copy(unsafe.Slice(at, len(s)), s)
	return at
}

// Pointer keeps a copy of *v and returns its address. T is as for Slice.
func Pointer[T any](p *Program, v *T) uintptr {
	return uintptr(unsafe.Pointer(Slice(p, []T{*v})))
}

// CloseAllBut closes every descriptor that is not in keep, which must be sorted.
func (p *Program) CloseAllBut(keep []int) {
	next := 0
	for _, fd := range keep {
		if fd > next {
			p.Call("close descriptors", unix.SYS_CLOSE_RANGE, uintptr(next), uintptr(fd-1), 0)
		}
		next = max(next, fd+1)
	}
	p.Call("close descriptors", unix.SYS_CLOSE_RANGE, uintptr(next), uintptr(^uint32(0)), 0)
}

// cloneArgs is struct clone_args of linux/sched.h.
type cloneArgs struct {
	flags, pidfd, childTid, parentTid, exitSignal, stack, stackSize, tls, setTid, setTidSize, cgroup uint64
}

// Start makes the child from the calling thread, whose namespaces it inherits. flags are CLONE_NEW… bits. With cgroup ≥ 0
// the child begins in that cgroup of version 2. report is the descriptor the child's reports go to, the write end of a
// pipe whose read end the caller gives to Reports. The pidfd is the caller's. The child ignores no signals.
func (p *Program) Start(flags uint64, cgroup, report int) (pid, pidfd int, err error) {
	if len(p.steps) == 0 {
		return 0, -1, errors.New("start child: no steps")
	}
	p.heedSignals()
	fd := (*int32)(p.memory().alloc(4))
	args := &cloneArgs{flags: flags | unix.CLONE_PIDFD, pidfd: uint64(uintptr(unsafe.Pointer(fd))), exitSignal: uint64(unix.SIGCHLD)}
	if cgroup >= 0 {
		args.flags, args.cgroup = args.flags|unix.CLONE_INTO_CGROUP, uint64(cgroup)
	}
	heapAlone()
	n, errno := fork(args, p, uintptr(report))
	pidfd = int(*fd)
	p.mem.free()
	runtime.KeepAlive(p)
	if errno != 0 {
		return 0, -1, fmt.Errorf("clone process: %w", errno)
	}
	return int(n), pidfd, nil
}

// StepError is a step that failed in the child.
type StepError struct {
	Step  string // what was tried
	Errno syscall.Errno
}

func (e *StepError) Error() string { return e.Step + ": " + e.Errno.Error() }
func (e *StepError) Unwrap() error { return e.Errno }

// ErrEnded: the child ended, or executed its program, without a report.
var ErrEnded = errors.New("child ended without a report")

// Next reads the child's next report from r. The value is what the step reported: the number of a forked process, Tell's, else 0.
// End of file is ErrEnded: for a program's last report it means that the execution succeeded or the child died.
func (p *Program) Next(r io.Reader) (value int, err error) {
	return next(r, func(i int) string {
		if i < len(p.names) {
			return p.names[i]
		}
		return "step"
	})
}

// NextOf reads a report without the program at hand: of a child made by another process. names are the program's Names.
func NextOf(r io.Reader, names []string) (value int, err error) {
	return next(r, func(i int) string {
		if i < len(names) {
			return names[i]
		}
		return "step"
	})
}

// Names are the steps' names from the given step on, so that a later process can word the child's error.
func (p *Program) Names() []string { return p.names }

func next(r io.Reader, name func(int) string) (int, error) {
	var b [12]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return 0, ErrEnded
		}
		return 0, fmt.Errorf("read child's report: %w", err)
	}
	at, errno, value := binary.NativeEndian.Uint32(b[:]), binary.NativeEndian.Uint32(b[4:]), binary.NativeEndian.Uint32(b[8:])
	if errno != 0 {
		return 0, &StepError{Step: name(int(at)), Errno: syscall.Errno(errno)}
	}
	return int(value), nil
}
