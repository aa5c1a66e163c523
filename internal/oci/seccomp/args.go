package seccomp

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// where a comparison goes on: at the next condition, out of the rule, or at the following instruction.
const (
	next = iota
	fail
	match
)

// branch is an instruction whose jumps are still words.
type branch struct {
	ins    unix.SockFilter
	jt, jf int
	isJump bool
}

// operators compile one comparison of a 64-bit argument, of which a filter sees two halves.
var operators = map[specs.LinuxSeccompOperator]func(hi, lo uint32, a specs.LinuxSeccompArg) []branch{
	specs.OpEqualTo: func(hi, lo uint32, a specs.LinuxSeccompArg) []branch {
		return []branch{
			{ins: load(hi)}, test(unix.BPF_JEQ, high(a.Value), next, fail),
			{ins: load(lo)}, test(unix.BPF_JEQ, low(a.Value), match, fail),
		}
	},
	specs.OpNotEqual: func(hi, lo uint32, a specs.LinuxSeccompArg) []branch {
		return []branch{
			{ins: load(hi)}, test(unix.BPF_JEQ, high(a.Value), next, match),
			{ins: load(lo)}, test(unix.BPF_JEQ, low(a.Value), fail, match),
		}
	},
	specs.OpMaskedEqual: func(hi, lo uint32, a specs.LinuxSeccompArg) []branch {
		and := func(k uint32) branch {
			return branch{ins: unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: k}}
		}
		return []branch{
			{ins: load(hi)}, and(high(a.Value)), test(unix.BPF_JEQ, high(a.ValueTwo), next, fail),
			{ins: load(lo)}, and(low(a.Value)), test(unix.BPF_JEQ, low(a.ValueTwo), match, fail),
		}
	},
	specs.OpGreaterThan: func(hi, lo uint32, a specs.LinuxSeccompArg) []branch {
		return greater(hi, lo, a.Value, unix.BPF_JGT, match, fail)
	},
	specs.OpGreaterEqual: func(hi, lo uint32, a specs.LinuxSeccompArg) []branch {
		return greater(hi, lo, a.Value, unix.BPF_JGE, match, fail)
	},
	specs.OpLessEqual: func(hi, lo uint32, a specs.LinuxSeccompArg) []branch {
		return greater(hi, lo, a.Value, unix.BPF_JGT, fail, match)
	},
	specs.OpLessThan: func(hi, lo uint32, a specs.LinuxSeccompArg) []branch {
		return greater(hi, lo, a.Value, unix.BPF_JGE, fail, match)
	},
}

// greater compares the high half; where it is equal, the low half with op decides.
func greater(hi, lo uint32, value uint64, op uint16, yes, no int) []branch {
	return []branch{
		{ins: load(hi)},
		test(unix.BPF_JGT, high(value), yes, next),
		test(unix.BPF_JEQ, high(value), next, no),
		{ins: load(lo)},
		test(op, low(value), yes, no),
	}
}

func test(op uint16, k uint32, jt, jf int) branch {
	return branch{ins: jump(op, k, 0, 0), jt: jt, jf: jf, isJump: true}
}

func high(v uint64) uint32 { return uint32(v >> 32) }
func low(v uint64) uint32  { return uint32(v) }

// conditions compiles a rule: all comparisons match, then its action; else what follows.
func conditions(r rule) []unix.SockFilter {
	var parts [][]branch
	total := 0
	for _, a := range r.args {
		// Both supported families are little endian: the low half comes first.
		lo := uint32(offArgs + 8*a.Index)
		part := operators[a.Op](lo+4, lo, a)
		parts, total = append(parts, part), total+len(part)
	}
	var p []unix.SockFilter
	for _, part := range parts {
		end := len(p) + len(part) // where the next comparison begins
		for _, b := range part {
			if b.isJump {
				at := len(p) + 1
				where := func(word int) uint8 {
					switch word {
					case fail:
						return uint8(total + 1 - at) // behind the rule's return
					case match:
						return uint8(end - at)
					}
					return 0
				}
				b.ins.Jt, b.ins.Jf = where(b.jt), where(b.jf)
			}
			p = append(p, b.ins)
		}
	}
	return append(p, ret(r.action))
}
