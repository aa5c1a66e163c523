package seccomp

import (
	"slices"
	"sync"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// recent are the filters compiled last.
var recent filters

// kept is how many compiled profiles are remembered: each is some 50 kB with its profile.
const kept = 4

// filters is a short list of profiles with what they compile to, the last used first.
type filters struct {
	mu   sync.Mutex
	list []compiled
}

type compiled struct {
	profile *specs.LinuxSeccomp
	filter  *Filter
}

func (r *filters) find(s *specs.LinuxSeccomp) *Filter {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, c := range r.list {
		if equal(c.profile, s) {
			copy(r.list[1:i+1], r.list[:i])
			r.list[0] = c
			return c.filter
		}
	}
	return nil
}

func (r *filters) add(s *specs.LinuxSeccomp, f *Filter) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = slices.Insert(r.list, 0, compiled{s, f})
	r.list = slices.Clip(r.list[:min(len(r.list), kept)])
}

// equal tells whether two profiles compile to the same: all that the compiler looks at is the same. A profile that hands
// calls to another process never compiles, so that what is for that process need not be looked at.
func equal(a, b *specs.LinuxSeccomp) bool {
	return a.DefaultAction == b.DefaultAction && same(a.DefaultErrnoRet, b.DefaultErrnoRet) &&
		slices.Equal(a.Architectures, b.Architectures) && slices.Equal(a.Flags, b.Flags) &&
		slices.EqualFunc(a.Syscalls, b.Syscalls, func(x, y specs.LinuxSyscall) bool {
			return x.Action == y.Action && same(x.ErrnoRet, y.ErrnoRet) && slices.Equal(x.Args, y.Args) && slices.Equal(x.Names, y.Names)
		})
}

func same(a, b *uint) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}
