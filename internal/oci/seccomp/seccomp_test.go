package seccomp

import (
	"encoding/binary"
	"errors"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// evaluate runs a program as the kernel would.
func evaluate(t *testing.T, p []unix.SockFilter, arch, number uint32, args ...uint64) uint32 {
	t.Helper()
	data := make([]byte, 64)
	binary.LittleEndian.PutUint32(data[0:], number)
	binary.LittleEndian.PutUint32(data[4:], arch)
	for i, a := range args {
		binary.LittleEndian.PutUint64(data[16+8*i:], a)
	}
	var acc uint32
	for pc := 0; pc < len(p); pc++ {
		i := p[pc]
		cond := false
		switch i.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			acc = binary.LittleEndian.Uint32(data[i.K:])
			continue
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			acc &= i.K
			continue
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(i.K)
			continue
		case unix.BPF_RET | unix.BPF_K:
			return i.K
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			cond = acc == i.K
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			cond = acc >= i.K
		case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
			cond = acc > i.K
		default:
			t.Fatalf("instruction %d: unknown code %#x", pc, i.Code)
		}
		if cond {
			pc += int(i.Jt)
		} else {
			pc += int(i.Jf)
		}
	}
	t.Fatal("program ran off its end")
	return 0
}

func compile(t *testing.T, s *specs.LinuxSeccomp) []unix.SockFilter {
	t.Helper()
	f, err := Compile(s)
	if err != nil {
		t.Fatal(err)
	}
	return f.Program
}

const x64 = unix.AUDIT_ARCH_X86_64

func TestActionsByNumberAndArchitecture(t *testing.T) {
	if Native() != specs.ArchX86_64 {
		t.Skip("the expected numbers are x86-64's")
	}
	seven := uint(7)
	p := compile(t, &specs.LinuxSeccomp{
		DefaultAction: specs.ActErrno,
		Architectures: []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32},
		Syscalls: []specs.LinuxSyscall{
			{Names: []string{"read", "write", "close", "no_such_call", "openat2"}, Action: specs.ActAllow},
			{Names: []string{"ptrace"}, Action: specs.ActErrno, ErrnoRet: &seven},
			{Names: []string{"reboot"}, Action: specs.ActKillProcess},
			{Names: []string{"kill"}, Action: specs.ActLog},
		},
	})
	errno := func(n uint32) uint32 { return retErrno | n }
	for _, c := range []struct {
		name         string
		arch, number uint32
		want         uint32
	}{
		{"read", x64, 0, retAllow},
		{"write", x64, 1, retAllow},
		{"open is not listed", x64, 2, errno(1)},
		{"close", x64, 3, retAllow},
		{"ptrace", x64, 101, errno(7)},
		{"reboot", x64, 169, retKillProcess},
		{"kill", x64, 62, retLog},
		{"openat2, the highest", x64, 437, retAllow},
		{"newer than the profile", x64, 438, errno(uint32(unix.ENOSYS))},
		{"x32 read", x64, x32Bit, retAllow},
		{"x32 open", x64, x32Bit | 2, errno(1)},
		{"x32 ptrace has a number of its own", x64, x32Bit | 521, errno(7)},
		{"x86 read", unix.AUDIT_ARCH_I386, 3, retAllow},
		{"x86 kill", unix.AUDIT_ARCH_I386, 37, retLog},
		{"x86 fork", unix.AUDIT_ARCH_I386, 2, errno(1)},
		{"foreign architecture", unix.AUDIT_ARCH_AARCH64, 0, retKillProcess},
	} {
		if got := evaluate(t, p, c.arch, c.number); got != c.want {
			t.Errorf("%s: %#x, want %#x", c.name, got, c.want)
		}
	}
}

func TestUnlistedX32IsKilled(t *testing.T) {
	if Native() != specs.ArchX86_64 {
		t.Skip("x32 is of x86-64")
	}
	p := compile(t, &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"mount"}, Action: specs.ActErrno}}})
	if got := evaluate(t, p, x64, x32Bit|1); got != retKillProcess {
		t.Errorf("x32 write: %#x", got)
	}
	if got := evaluate(t, p, x64, 165); got != retErrno|1 {
		t.Errorf("mount: %#x", got)
	}
	if got := evaluate(t, p, x64, 5000); got != retAllow {
		t.Errorf("unknown call under a default of allow: %#x", got)
	}
}

func TestArguments(t *testing.T) {
	if Native() != specs.ArchX86_64 {
		t.Skip("the expected numbers are x86-64's")
	}
	const big = 0x1_0000_0005
	for _, c := range []struct {
		name  string
		arg   specs.LinuxSeccompArg
		yes   []uint64
		noArg []uint64
	}{
		{"eq", specs.LinuxSeccompArg{Value: big, Op: specs.OpEqualTo}, []uint64{big}, []uint64{5, 0x1_0000_0000, big + 1}},
		{"ne", specs.LinuxSeccompArg{Value: big, Op: specs.OpNotEqual}, []uint64{5, 0x1_0000_0000, big + 1}, []uint64{big}},
		{"gt", specs.LinuxSeccompArg{Value: big, Op: specs.OpGreaterThan}, []uint64{big + 1, 1 << 33}, []uint64{big, 6, 0xffffffff}},
		{"ge", specs.LinuxSeccompArg{Value: big, Op: specs.OpGreaterEqual}, []uint64{big, big + 1, 1 << 33}, []uint64{6, 0xffffffff, big - 1}},
		{"lt", specs.LinuxSeccompArg{Value: big, Op: specs.OpLessThan}, []uint64{6, 0xffffffff, big - 1}, []uint64{big, big + 1, 1 << 33}},
		{"le", specs.LinuxSeccompArg{Value: big, Op: specs.OpLessEqual}, []uint64{big, 6, 0xffffffff}, []uint64{big + 1, 1 << 33}},
		{"masked", specs.LinuxSeccompArg{Value: 0x1_0000_00f0, ValueTwo: 0x1_0000_0010, Op: specs.OpMaskedEqual},
			[]uint64{0x1_0000_0010, 0x3_0000_001f}, []uint64{0x10, 0x1_0000_0020}},
	} {
		c.arg.Index = 1
		p := compile(t, &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{
			{Names: []string{"ioctl"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{c.arg, {Index: 0, Value: 3, Op: specs.OpEqualTo}}}}})
		for _, v := range c.yes {
			if got := evaluate(t, p, x64, 16, 3, v); got != retAllow {
				t.Errorf("%s %#x: %#x, want allowed", c.name, v, got)
			}
			if got := evaluate(t, p, x64, 16, 4, v); got != retErrno|1 {
				t.Errorf("%s %#x with the other argument wrong: %#x, want refused", c.name, v, got)
			}
		}
		for _, v := range c.noArg {
			if got := evaluate(t, p, x64, 16, 3, v); got != retErrno|1 {
				t.Errorf("%s %#x: %#x, want refused", c.name, v, got)
			}
		}
	}
}

func TestSeveralRulesOfOneCallAreAlternatives(t *testing.T) {
	if Native() != specs.ArchX86_64 {
		t.Skip("the expected numbers are x86-64's")
	}
	eq := func(v uint64) []specs.LinuxSeccompArg {
		return []specs.LinuxSeccompArg{{Index: 0, Value: v, Op: specs.OpEqualTo}}
	}
	p := compile(t, &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{
		{Names: []string{"personality"}, Action: specs.ActAllow, Args: eq(0)},
		{Names: []string{"personality"}, Action: specs.ActAllow, Args: eq(8)},
		{Names: []string{"personality"}, Action: specs.ActTrap, Args: eq(9)},
	}})
	for v, want := range map[uint64]uint32{0: retAllow, 8: retAllow, 9: retTrap, 1: retErrno | 1} {
		if got := evaluate(t, p, x64, 135, v); got != want {
			t.Errorf("personality(%d): %#x, want %#x", v, got, want)
		}
	}
}

func TestEveryCallOfALargeProfile(t *testing.T) {
	if Native() != specs.ArchX86_64 {
		t.Skip("the expected numbers are x86-64's")
	}
	// Every third number is allowed: more spans than a short jump reaches.
	var names []string
	want := map[uint32]bool{}
	for n := uint32(0); n < 460; n += 3 {
		for _, name := range fieldsOf(tableX86_64) {
			if found, ok := callsX86_64.find(name); ok && found == n {
				names, want[n] = append(names, name), true
			}
		}
	}
	p := compile(t, &specs.LinuxSeccomp{DefaultAction: specs.ActKillProcess, Syscalls: []specs.LinuxSyscall{{Names: names, Action: specs.ActAllow}}})
	for n := uint32(0); n < 600; n++ {
		got := evaluate(t, p, x64, n)
		if want[n] != (got == retAllow) {
			t.Errorf("call %d: %#x", n, got)
		}
	}
}

func fieldsOf(table string) (names []string) {
	for name, rest := "", table; rest != ""; {
		for len(rest) > 0 && rest[0] == ' ' {
			rest = rest[1:]
		}
		i := 0
		for i < len(rest) && rest[i] != '=' {
			i++
		}
		name = rest[:i]
		for i < len(rest) && rest[i] != ' ' {
			i++
		}
		rest = rest[i:]
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}

func TestNotifyIsRefused(t *testing.T) {
	_, err := Compile(&specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"mount"}, Action: specs.ActNotify}}})
	if !errors.Is(err, ErrNotify) {
		t.Fatalf("error %v", err)
	}
}
