// Package seccomp compiles the seccomp section of an OCI configuration to the filter program that the kernel takes: classic
// BPF over struct seccomp_data. It is written here, in Go, because the usual compiler is a C library.
//
// A filter is compiled per architecture to a search tree over ranges of system call numbers, so that a profile with four
// hundred names costs a call some nine comparisons. It is a compiler only: internal/oci installs what it makes, and is
// the one importer.
package seccomp

import (
	"errors"
	"fmt"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ErrNotify: the profile hands calls to another process, which this runtime does not do.
var ErrNotify = errors.New("SCMP_ACT_NOTIFY is not supported")

// return values of a filter, linux/seccomp.h.
const (
	retKillProcess = 0x80000000
	retKillThread  = 0x00000000
	retTrap        = 0x00030000
	retErrno       = 0x00050000
	retTrace       = 0x7ff00000
	retLog         = 0x7ffc0000
	retAllow       = 0x7fff0000
)

// offsets in struct seccomp_data.
const (
	offNumber = 0
	offArch   = 4
	offArgs   = 16
)

// x32Bit marks a call of the x32 ABI.
const x32Bit = 0x40000000

// MaxInstructions is the kernel's bound of a program's length (BPF_MAXINSNS).
const MaxInstructions = 4096

// Filter is a compiled profile.
type Filter struct {
	Program []unix.SockFilter
	Flags   uint // SECCOMP_FILTER_FLAG_ bits
}

type architecture struct {
	audit uint32
	find  func(name string) (uint32, bool) // number of a call
}

var architectures = map[specs.Arch]architecture{
	specs.ArchX86_64:  {unix.AUDIT_ARCH_X86_64, callsX86_64.find},
	specs.ArchX32:     {unix.AUDIT_ARCH_X86_64, x32},
	specs.ArchX86:     {unix.AUDIT_ARCH_I386, callsX86.find},
	specs.ArchAARCH64: {unix.AUDIT_ARCH_AARCH64, callsARM64.find},
	specs.ArchARM:     {unix.AUDIT_ARCH_ARM, callsARM.find},
}

// numbers of an architecture's calls by name, read from its table when it is first asked for.
type numbers func() map[string]uint32

func read(table string) numbers {
	return sync.OnceValue(func() map[string]uint32 {
		m := make(map[string]uint32, strings.Count(table, "="))
		for entry := range strings.FieldsSeq(table) {
			name, number, _ := strings.Cut(entry, "=")
			if n, err := strconv.ParseUint(number, 10, 32); err == nil {
				m[name] = uint32(n)
			}
		}
		return m
	})
}

var (
	callsX86_64 = read(tableX86_64)
	callsX32    = read(tableX32)
	callsX86    = read(tableX86)
	callsARM64  = read(tableARM64)
	callsARM    = read(tableARM)
)

func x32(name string) (uint32, bool) {
	n, ok := callsX32()[name]
	if !ok {
		n, ok = callsX86_64()[name]
	}
	return n | x32Bit, ok
}

func (f numbers) find(name string) (uint32, bool) {
	n, ok := f()[name]
	return n, ok
}

// Native is the architecture this program runs on.
func Native() specs.Arch {
	if runtime.GOARCH == "arm64" {
		return specs.ArchAARCH64
	}
	return specs.ArchX86_64
}

// Compile makes the filter of a profile, or hands out the one that it made of an equal profile before: nearly all
// containers of a node have the same one. The filter and the profile are read-only from then on. Names of calls that an architecture does not have are left out, as are
// architectures that this compiler does not know and this machine cannot run.
func Compile(s *specs.LinuxSeccomp) (*Filter, error) {
	if f := recent.find(s); f != nil {
		return f, nil
	}
	f, err := assemble(s)
	if err == nil {
		recent.add(s, f)
	}
	return f, err
}

func assemble(s *specs.LinuxSeccomp) (*Filter, error) {
	f := &Filter{}
	for _, flag := range s.Flags {
		switch flag {
		case "SECCOMP_FILTER_FLAG_TSYNC": // a process of one thread
		case "SECCOMP_FILTER_FLAG_LOG":
			f.Flags |= unix.SECCOMP_FILTER_FLAG_LOG
		case "SECCOMP_FILTER_FLAG_SPEC_ALLOW":
			f.Flags |= unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
		default:
			return nil, fmt.Errorf("compile seccomp profile: flag %s is not supported", flag)
		}
	}
	def, err := action(s.DefaultAction, s.DefaultErrnoRet)
	if err != nil {
		return nil, fmt.Errorf("compile seccomp profile: default: %w", err)
	}
	blocks := map[uint32][]specs.Arch{}
	var order []uint32
	for _, a := range append([]specs.Arch{Native()}, s.Architectures...) {
		arch, ok := architectures[a]
		if !ok {
			continue
		}
		if _, ok := blocks[arch.audit]; !ok {
			order = append(order, arch.audit)
		}
		if !has(blocks[arch.audit], a) {
			blocks[arch.audit] = append(blocks[arch.audit], a)
		}
	}
	p := []unix.SockFilter{load(offArch)}
	for _, audit := range order {
		block, err := compileArch(s, def, blocks[audit])
		if err != nil {
			return nil, err
		}
		block = append([]unix.SockFilter{load(offNumber)}, block...)
		// Not this architecture: behind the block, which may be longer than a conditional jump reaches.
		p = append(p, jump(unix.BPF_JEQ, audit, 1, 0), always(len(block)))
		p = append(p, block...)
	}
	p = append(p, ret(retKillProcess))
	if len(p) > MaxInstructions {
		return nil, fmt.Errorf("compile seccomp profile: %d instructions, more than the kernel's %d", len(p), MaxInstructions)
	}
	f.Program = p
	return f, nil
}

func has(list []specs.Arch, a specs.Arch) bool {
	for _, x := range list {
		if x == a {
			return true
		}
	}
	return false
}

func action(a specs.LinuxSeccompAction, errnoRet *uint) (uint32, error) {
	data := uint32(unix.EPERM)
	if errnoRet != nil {
		if *errnoRet > 0xffff {
			return 0, fmt.Errorf("errno %d is too large", *errnoRet)
		}
		data = uint32(*errnoRet)
	}
	switch a {
	case specs.ActKill, specs.ActKillThread:
		return retKillThread, nil
	case specs.ActKillProcess:
		return retKillProcess, nil
	case specs.ActTrap:
		return retTrap, nil
	case specs.ActErrno:
		return retErrno | data, nil
	case specs.ActTrace:
		return retTrace | data, nil
	case specs.ActAllow:
		return retAllow, nil
	case specs.ActLog:
		return retLog, nil
	case specs.ActNotify:
		return 0, ErrNotify
	}
	return 0, fmt.Errorf("unknown action %q", a)
}

// verdict is what happens to one call: conditional rules in order, else the action.
type verdict struct {
	rules  []rule
	action uint32
	decide bool // action was said, else it is the default
}

type rule struct {
	args   []specs.LinuxSeccompArg
	action uint32
}

func compileArch(s *specs.LinuxSeccomp, def uint32, archs []specs.Arch) ([]unix.SockFilter, error) {
	verdicts := map[uint32]*verdict{}
	highest := map[specs.Arch]uint32{}
	for i := range s.Syscalls {
		call := &s.Syscalls[i]
		act, err := action(call.Action, call.ErrnoRet)
		if err != nil {
			return nil, fmt.Errorf("compile seccomp profile: %s: %w", strings.Join(call.Names, ", "), err)
		}
		for _, a := range call.Args {
			if a.Index > 5 {
				return nil, fmt.Errorf("compile seccomp profile: %s: argument %d does not exist", strings.Join(call.Names, ", "), a.Index)
			}
			if _, ok := operators[a.Op]; !ok {
				return nil, fmt.Errorf("compile seccomp profile: %s: unknown operator %q", strings.Join(call.Names, ", "), a.Op)
			}
		}
		for _, name := range call.Names {
			for _, arch := range archs {
				n, ok := architectures[arch].find(name)
				if !ok {
					continue
				}
				highest[arch] = max(highest[arch], n)
				if act == def {
					continue
				}
				v := verdicts[n]
				if v == nil {
					v = &verdict{action: def}
					verdicts[n] = v
				}
				switch {
				case len(call.Args) > 0:
					v.rules = append(v.rules, rule{call.Args, act})
				case !v.decide:
					v.action, v.decide = act, true
				}
			}
		}
	}
	return tree(ranges(verdicts, def, archs, highest)), nil
}

// span is a range of numbers with one verdict; it ends where the next begins.
type span struct {
	start uint32
	v     verdict
}

// ranges lays the verdicts out over all numbers. Behind the highest number that a profile names, a default that is an
// error becomes ENOSYS: a library that tries a newer call must be told that it does not exist, so that it falls back.
func ranges(verdicts map[uint32]*verdict, def uint32, archs []specs.Arch, highest map[specs.Arch]uint32) []span {
	numbers := make([]uint32, 0, len(verdicts))
	for n := range verdicts {
		numbers = append(numbers, n)
	}
	sort.Slice(numbers, func(i, j int) bool { return numbers[i] < numbers[j] })
	unknown := map[uint32]uint32{} // number from which on calls are unknown → up to
	if def == retErrno|uint32(unix.EPERM) {
		for _, a := range archs {
			if h, ok := highest[a]; ok {
				end := uint32(x32Bit)
				if a == specs.ArchX32 {
					end = 0
				}
				unknown[h+1] = end
			}
		}
	}
	var spans []span
	add := func(start uint32, v verdict) {
		if len(spans) > 0 && spans[len(spans)-1].start == start {
			spans = spans[:len(spans)-1]
		}
		if len(spans) > 0 && len(v.rules) == 0 && len(spans[len(spans)-1].v.rules) == 0 && spans[len(spans)-1].v.action == v.action {
			return
		}
		spans = append(spans, span{start, v})
	}
	base := verdict{action: def}
	add(0, base)
	cuts := append([]uint32{}, numbers...)
	for h, end := range unknown {
		cuts = append(cuts, h)
		if end != 0 {
			cuts = append(cuts, end)
		}
	}
	withX32 := has(archs, specs.ArchX32)
	if has(archs, specs.ArchX86_64) {
		cuts = append(cuts, x32Bit)
	}
	sort.Slice(cuts, func(i, j int) bool { return cuts[i] < cuts[j] })
	for _, n := range cuts {
		_, beyond := unknown[n]
		v := verdicts[n]
		switch {
		case v != nil:
			add(n, *v)
			add(n+1, base)
			if _, ok := unknown[n+1]; ok {
				add(n+1, verdict{action: retErrno | uint32(unix.ENOSYS)})
			}
		case beyond:
			add(n, verdict{action: retErrno | uint32(unix.ENOSYS)})
		case n == x32Bit && has(archs, specs.ArchX86_64) && !withX32:
			// An ABI that the profile does not list.
			add(n, verdict{action: retKillProcess})
		default:
			add(n, base)
		}
	}
	return spans
}

// tree compiles spans to a binary search over the number in the accumulator.
func tree(spans []span) []unix.SockFilter {
	if len(spans) == 1 {
		return leaf(spans[0].v)
	}
	mid := len(spans) / 2
	left, right := tree(spans[:mid]), tree(spans[mid:])
	var p []unix.SockFilter
	if len(left) <= 255 {
		p = append(p, jump(unix.BPF_JGE, spans[mid].start, uint8(len(left)), 0))
	} else {
		p = append(p, jump(unix.BPF_JGE, spans[mid].start, 0, 1), always(len(left)))
	}
	return append(append(p, left...), right...)
}

func leaf(v verdict) []unix.SockFilter {
	var p []unix.SockFilter
	for _, r := range v.rules {
		p = append(p, conditions(r)...)
	}
	return append(p, ret(v.action))
}

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

func ret(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }

func jump(op uint16, k uint32, jt, jf uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | op | unix.BPF_K, K: k, Jt: jt, Jf: jf}
}

func always(n int) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(n)}
}
