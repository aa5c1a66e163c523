package seccomp

import (
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func profile(change func(*specs.LinuxSeccomp)) *specs.LinuxSeccomp {
	errno := uint(1)
	s := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, DefaultErrnoRet: &errno, Architectures: []specs.Arch{specs.ArchX86_64},
		Flags: []specs.LinuxSeccompFlag{"SECCOMP_FILTER_FLAG_LOG"},
		Syscalls: []specs.LinuxSyscall{
			{Names: []string{"read", "write"}, Action: specs.ActAllow},
			{Names: []string{"clone"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Index: 0, Value: 0x7e020000, Op: specs.OpMaskedEqual}}},
		}}
	change(s)
	return s
}

// Two profiles share a filter only if nothing that the compiler looks at differs.
func TestFilterIsSharedByEqualProfilesOnly(t *testing.T) {
	first, err := Compile(profile(func(*specs.LinuxSeccomp) {}))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Compile(profile(func(*specs.LinuxSeccomp) {})); err != nil || again != first {
		t.Fatalf("an equal profile was compiled again: %p, %p, %v", again, first, err)
	}
	two, three := uint(2), uint(3)
	for name, change := range map[string]func(*specs.LinuxSeccomp){
		"default action":     func(s *specs.LinuxSeccomp) { s.DefaultAction = specs.ActKillProcess },
		"default errno":      func(s *specs.LinuxSeccomp) { s.DefaultErrnoRet = &two },
		"no default errno":   func(s *specs.LinuxSeccomp) { s.DefaultErrnoRet = nil },
		"architecture":       func(s *specs.LinuxSeccomp) { s.Architectures = append(s.Architectures, specs.ArchX86) },
		"flag":               func(s *specs.LinuxSeccomp) { s.Flags = nil },
		"name":               func(s *specs.LinuxSeccomp) { s.Syscalls[0].Names[1] = "open" },
		"fewer names":        func(s *specs.LinuxSeccomp) { s.Syscalls[0].Names = s.Syscalls[0].Names[:1] },
		"action":             func(s *specs.LinuxSeccomp) { s.Syscalls[0].Action = specs.ActLog },
		"errno":              func(s *specs.LinuxSeccomp) { s.Syscalls[0].ErrnoRet = &three },
		"fewer calls":        func(s *specs.LinuxSeccomp) { s.Syscalls = s.Syscalls[:1] },
		"no arguments":       func(s *specs.LinuxSeccomp) { s.Syscalls[1].Args = nil },
		"argument's value":   func(s *specs.LinuxSeccomp) { s.Syscalls[1].Args[0].Value++ },
		"argument's second":  func(s *specs.LinuxSeccomp) { s.Syscalls[1].Args[0].ValueTwo++ },
		"argument's operand": func(s *specs.LinuxSeccomp) { s.Syscalls[1].Args[0].Op = specs.OpNotEqual },
	} {
		if f, err := Compile(profile(change)); err != nil || f == first {
			t.Errorf("%s: the filter of another profile was given (%v)", name, err)
		}
	}
	if len(recent.list) > kept {
		t.Errorf("%d filters are kept, %d are allowed", len(recent.list), kept)
	}
}

func BenchmarkAssemble(b *testing.B) {
	var names []string
	for name := range callsX86_64() {
		names = append(names, name)
	}
	s := profile(func(s *specs.LinuxSeccomp) {
		s.Architectures = []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32}
		s.Syscalls[0].Names = names
	})
	for b.Loop() {
		if _, err := assemble(s); err != nil {
			b.Fatal(err)
		}
	}
}
