package cgroup

import (
	"fmt"
	"runtime"
	"strings"
	"unsafe"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// bpfInsn is struct bpf_insn of linux/bpf.h.
type bpfInsn struct {
	op   uint8
	regs uint8 // destination, source << 4
	off  int16
	imm  int32
}

// operations used here, named as in the kernel's filter macros.
const (
	ldxW    = unix.BPF_LDX | unix.BPF_MEM | unix.BPF_W
	movX    = 0x07 | 0xb0 | 0x08
	movK    = 0x07 | 0xb0
	andK    = 0x07 | 0x50
	rshK    = 0x07 | 0x70
	jneK    = 0x05 | 0x50
	jeqK    = 0x05 | 0x10
	bpfExit = 0x05 | 0x90
)

// deviceProgram compiles rules to a program of type BPF_PROG_TYPE_CGROUP_DEVICE: the last rule that matches decides, and
// without one nothing is allowed. An allowing rule matches when it gives all that is asked; a denying one when it takes
// any of it.
func deviceProgram(rules []specs.LinuxDeviceCgroup) ([]bpfInsn, error) {
	// struct bpf_cgroup_dev_ctx in r1: access << 16 | type, major, minor.
	p := []bpfInsn{
		{op: ldxW, regs: 2 | 1<<4},
		{op: movX, regs: 3 | 2<<4},
		{op: andK, regs: 2, imm: 0xffff},
		{op: rshK, regs: 3, imm: 16},
		{op: ldxW, regs: 4 | 1<<4, off: 4},
		{op: ldxW, regs: 5 | 1<<4, off: 8},
	}
	for i := len(rules) - 1; i >= 0; i-- {
		r := rules[i]
		var test []bpfInsn
		switch r.Type {
		case "b":
			test = append(test, bpfInsn{op: jneK, regs: 2, imm: unix.BPF_DEVCG_DEV_BLOCK})
		case "c", "u":
			test = append(test, bpfInsn{op: jneK, regs: 2, imm: unix.BPF_DEVCG_DEV_CHAR})
		case "", "a":
		default:
			return nil, fmt.Errorf("compile device rule: type %q is none of a, b, c", r.Type)
		}
		access := int32(0)
		for _, c := range r.Access {
			switch c {
			case 'r':
				access |= unix.BPF_DEVCG_ACC_READ
			case 'w':
				access |= unix.BPF_DEVCG_ACC_WRITE
			case 'm':
				access |= unix.BPF_DEVCG_ACC_MKNOD
			default:
				return nil, fmt.Errorf("compile device rule: access %q is not of r, w, m", r.Access)
			}
		}
		if access == 0 {
			access = 7
		}
		if access != 7 {
			test = append(test, bpfInsn{op: movX, regs: 1 | 3<<4})
			if r.Allow {
				test = append(test, bpfInsn{op: andK, regs: 1, imm: ^access}, bpfInsn{op: jneK, regs: 1, imm: 0})
			} else {
				test = append(test, bpfInsn{op: andK, regs: 1, imm: access}, bpfInsn{op: jeqK, regs: 1, imm: 0})
			}
		}
		if !every(r.Major) {
			test = append(test, bpfInsn{op: jneK, regs: 4, imm: int32(*r.Major)})
		}
		if !every(r.Minor) {
			test = append(test, bpfInsn{op: jneK, regs: 5, imm: int32(*r.Minor)})
		}
		verdict := int32(0)
		if r.Allow {
			verdict = 1
		}
		unconditional := len(test) == 0
		test = append(test, bpfInsn{op: movK, regs: 0, imm: verdict}, bpfInsn{op: bpfExit})
		for at := range test {
			// A failed test goes on behind this rule; offsets count from the next instruction.
			if op := test[at].op; op == jneK || op == jeqK {
				test[at].off = int16(len(test) - at - 1)
			}
		}
		p = append(p, test...)
		if unconditional {
			return p, nil // what lies behind cannot be reached, which the kernel's verifier refuses
		}
	}
	return append(p, bpfInsn{op: movK, regs: 0, imm: 0}, bpfInsn{op: bpfExit}), nil
}

// applyDeviceFilter attaches the rules to the cgroup at dir.
func applyDeviceFilter(dir string, rules []specs.LinuxDeviceCgroup) error {
	if allowsAll(rules) {
		return nil
	}
	program, err := deviceProgram(append(append([]specs.LinuxDeviceCgroup{}, rules...), defaultDevices...))
	if err != nil {
		return err
	}
	fd, err := loadDeviceProgram(program)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	at, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open cgroup: %w", err)
	}
	defer unix.Close(at)
	attr := struct{ target, prog, typ, flags uint32 }{uint32(at), uint32(fd), unix.BPF_CGROUP_DEVICE, unix.BPF_F_ALLOW_MULTI}
	if _, _, e := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_ATTACH, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr)); e != 0 {
		return fmt.Errorf("attach device filter: %w", e)
	}
	return nil
}

func loadDeviceProgram(program []bpfInsn) (int, error) {
	license := []byte("MIT\x00")
	load := func(log []byte) (int, unix.Errno) {
		// The beginning of union bpf_attr for BPF_PROG_LOAD.
		attr := struct {
			typ, count          uint32
			insns, license      uint64
			logLevel, logSize   uint32
			logBuf              uint64
			kernVersion, flags  uint32
			name                [16]byte
			ifindex, attachType uint32
		}{typ: unix.BPF_PROG_TYPE_CGROUP_DEVICE, count: uint32(len(program)),
			insns: uint64(uintptr(unsafe.Pointer(&program[0]))), license: uint64(uintptr(unsafe.Pointer(&license[0]))), attachType: unix.BPF_CGROUP_DEVICE}
		if len(log) > 0 {
			attr.logLevel, attr.logSize, attr.logBuf = 1, uint32(len(log)), uint64(uintptr(unsafe.Pointer(&log[0])))
		}
		fd, _, e := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
		runtime.KeepAlive(program)
		runtime.KeepAlive(license)
		runtime.KeepAlive(log)
		return int(fd), e
	}
	fd, e := load(nil)
	if e != 0 {
		log := make([]byte, 64<<10)
		_, _ = load(log)
		text, _, _ := strings.Cut(string(log), "\x00")
		return -1, fmt.Errorf("load device filter: %w %s", e, text)
	}
	return fd, nil
}
