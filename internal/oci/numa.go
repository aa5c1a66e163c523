package oci

import (
	"fmt"
	"strconv"
	"strings"
	"unsafe"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"nau/internal/kernel/child"
)

// maxCPUs bounds the numbers in a list of processors or memory nodes; the kernel's own bounds are 8192 and 1024.
const maxCPUs = 8192

// parseList reads "0-3,7" as a bit for each number (runtime specification, config.md, "execCPUAffinity").
func parseList(list string) (bits []uint64, err error) {
	for _, part := range strings.Split(list, ",") {
		from, to, ranged := strings.Cut(strings.TrimSpace(part), "-")
		if !ranged {
			to = from
		}
		a, err1 := strconv.ParseUint(from, 10, 32)
		b, err2 := strconv.ParseUint(to, 10, 32)
		if err1 != nil || err2 != nil || a > b || b >= maxCPUs {
			return nil, fmt.Errorf("%w: list %q: %q is no number or range from 0 to %d", ErrInvalid, list, part, maxCPUs-1)
		}
		for n := a; n <= b; n++ {
			for uint64(len(bits)) <= n/64 {
				bits = append(bits, 0)
			}
			bits[n/64] |= 1 << (n % 64)
		}
	}
	return bits, nil
}

// memoryModes and memoryFlags are those of linux/mempolicy.h.
var memoryModes = map[specs.MemoryPolicyModeType]uintptr{specs.MpolDefault: 0, specs.MpolPreferred: 1, specs.MpolBind: 2, specs.MpolInterleave: 3, specs.MpolLocal: 4,
	specs.MpolPreferredMany: 5, specs.MpolWeightedInterleave: 6}

var memoryFlags = map[specs.MemoryPolicyFlagType]uintptr{specs.MpolFStaticNodes: 1 << 15, specs.MpolFRelativeNodes: 1 << 14, specs.MpolFNumaBalancing: 1 << 13}

// memoryPolicy is what set_mempolicy(2) is told.
type memoryPolicy struct {
	mode  uintptr
	nodes []uint64
}

func planMemoryPolicy(p *specs.LinuxMemoryPolicy) (*memoryPolicy, error) {
	if p == nil {
		return nil, nil
	}
	mode, ok := memoryModes[p.Mode]
	if !ok {
		return nil, fmt.Errorf("%w: linux.memoryPolicy: mode %q is unknown", ErrInvalid, p.Mode)
	}
	m := &memoryPolicy{mode: mode}
	for _, f := range p.Flags {
		bit, ok := memoryFlags[f]
		if !ok {
			return nil, fmt.Errorf("%w: linux.memoryPolicy: flag %q is unknown", ErrInvalid, f)
		}
		m.mode |= bit
	}
	if p.Nodes != "" {
		var err error
		if m.nodes, err = parseList(p.Nodes); err != nil {
			return nil, fmt.Errorf("linux.memoryPolicy: nodes: %w", err)
		}
	}
	return m, nil
}

// set adds the step. The kernel counts one bit less than it is told.
func (m *memoryPolicy) set(p *child.Program) {
	if m == nil {
		return
	}
	bits := uintptr(0)
	if len(m.nodes) > 0 {
		bits = uintptr(len(m.nodes)*64 + 1)
	}
	p.Call("set memory policy", unix.SYS_SET_MEMPOLICY, m.mode, uintptr(unsafe.Pointer(child.Slice(p, m.nodes))), bits)
}

// affinity are the processors of one that is executed in a container: before and after it is in the container's cgroup; nil leaves them.
type affinity struct{ initial, final []uint64 }

func planAffinity(a *specs.CPUAffinity) (x affinity, err error) {
	if a == nil {
		return x, nil
	}
	if a.Initial != "" {
		if x.initial, err = parseList(a.Initial); err != nil {
			return x, fmt.Errorf("process.execCPUAffinity: initial: %w", err)
		}
	}
	if a.Final != "" {
		if x.final, err = parseList(a.Final); err != nil {
			return x, fmt.Errorf("process.execCPUAffinity: final: %w", err)
		}
	}
	return x, nil
}

// begin binds the calling thread, and so the process that it makes.
func (x affinity) begin() error {
	if x.initial == nil {
		return nil
	}
	if _, _, e := unix.Syscall(unix.SYS_SCHED_SETAFFINITY, 0, uintptr(len(x.initial)*8), uintptr(unsafe.Pointer(&x.initial[0]))); e != 0 {
		return fmt.Errorf("set processors before the cgroup is joined: %w", e)
	}
	return nil
}

// end adds the step that binds the process once it has joined its cgroup.
func (x affinity) end(p *child.Program) {
	if x.final != nil {
		p.Call("set processors", unix.SYS_SCHED_SETAFFINITY, 0, uintptr(len(x.final)*8), uintptr(unsafe.Pointer(child.Slice(p, x.final))))
	}
}
