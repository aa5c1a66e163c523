package apiserver

import (
	"context"
	"sync"
	"testing"

	"nau/internal/apiserver/identity"
)

// waits tells how many of a tenant's requests stand in line.
func (g *gate) waits(tenant string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	if h := g.tenants[tenant]; h != nil {
		return len(h.queue)
	}
	return 0
}

func TestGateIsFair(t *testing.T) {
	g := newGate(8)
	var mu sync.Mutex
	in := map[string][]func(){} // how those who are in leave
	enter := func(tenant string, system bool, width int) {
		leave, ok := g.enter(t.Context(), tenant, system, width)
		if !ok {
			t.Errorf("%s was refused", tenant)
			return
		}
		mu.Lock()
		in[tenant] = append(in[tenant], leave)
		mu.Unlock()
	}
	var all sync.WaitGroup
	line := func(tenant string, width int) {
		n := g.waits(tenant)
		all.Go(func() { enter(tenant, false, width) })
		until(t, tenant+" stands in line", func() bool { return g.waits(tenant) == n+1 })
	}
	for range 4 {
		enter("greedy", false, 1)
	}
	line("greedy", 1) // there is room, but half of it is enough for one
	line("greedy", 1)
	enter("modest", false, 1) // passes those who wait for themselves
	enter("node", true, 3)
	line("modest", 1)
	line("late", 2)
	line("late", 1)
	for i, step := range []struct {
		leaves               string
		greedy, modest, late int // who then still stand in line
	}{
		{"greedy", 2, 1, 2}, // one place; late, who has none, wants two, and nobody passes by
		{"greedy", 2, 1, 1}, // two places
		{"node", 1, 0, 0},   // three: modest had one, then all have two and greedy came first, then late has less than greedy
		{"modest", 0, 0, 0},
	} {
		mu.Lock()
		leave := in[step.leaves][0]
		in[step.leaves] = in[step.leaves][1:]
		mu.Unlock()
		leave()
		if greedy, modest, late := g.waits("greedy"), g.waits("modest"), g.waits("late"); greedy != step.greedy || modest != step.modest || late != step.late {
			t.Errorf("%d: after %s left %d, %d, %d wait, want %d, %d, %d", i, step.leaves, greedy, modest, late, step.greedy, step.modest, step.late)
		}
	}
	all.Wait()
	for _, leaves := range in {
		for _, leave := range leaves {
			leave()
		}
	}
	if len(g.tenants) != 0 || g.free != 8 || g.waiting != 0 {
		t.Errorf("left behind: %+v", g)
	}
}

func TestGateRefuses(t *testing.T) {
	g := newGate(2)
	leave, _ := g.enter(t.Context(), "a", false, 1)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range queueLength {
		all.Go(func() {
			if _, ok := g.enter(ctx, "a", false, 1); ok {
				t.Error("let in beyond the half")
			}
		})
	}
	until(t, "the line is full", func() bool { return g.waits("a") == queueLength })
	if _, ok := g.enter(t.Context(), "a", false, 1); ok {
		t.Error("a longer line")
	}
	other, ok := g.enter(t.Context(), "b", false, 1)
	if !ok {
		t.Error("another tenant was refused")
	}
	cancel()
	all.Wait()
	leave()
	other()
	if len(g.tenants) != 0 || g.free != 2 || g.waiting != 0 {
		t.Errorf("left behind: %+v", g)
	}
}

// Who shares with whom, and how much of it a request takes.
func TestShares(t *testing.T) {
	for _, tt := range []struct {
		user   identity.User
		name   string
		system bool
	}{
		{identity.User{Name: "eve"}, "eve", false},
		{identity.User{Name: identity.Anonymous}, identity.Anonymous, false},
		{identity.User{Name: "system:serviceaccount:red:a"}, "system:serviceaccounts:red", false},
		{identity.User{Name: "system:serviceaccount:red:b"}, "system:serviceaccounts:red", false},
		{identity.User{Name: "system:serviceaccount:kube-system:job-controller"}, "system:serviceaccount:kube-system:job-controller", true},
		{identity.User{Name: identity.Scheduler}, identity.Scheduler, true},
		{identity.User{Name: "system:node:a", Groups: []string{identity.Nodes}}, "system:node:a", true},
		{identity.User{Name: "system:node:a"}, "system:node:a", false}, // says who is not in the group
		{identity.User{Name: "admin", Groups: []string{identity.Masters}}, "admin", true},
	} {
		if name, system := share(&tt.user); name != tt.name || system != tt.system {
			t.Errorf("%s shares as %s, %v", tt.user.Name, name, system)
		}
	}
	for length, want := range map[int64]int{0: 1, 1000: 1, placeBytes: 2, 3 << 20: 49, -1: 49} {
		if got := width(length, 3<<20); got != want {
			t.Errorf("a body of %d bytes takes %d places, want %d", length, got, want)
		}
	}
}

func TestTally(t *testing.T) {
	tl := newTally(2)
	one, ok := tl.enter("a")
	two, ok2 := tl.enter("a")
	if _, ok3 := tl.enter("a"); !ok || !ok2 || ok3 {
		t.Error("two of two are let in, no third")
	}
	if leave, ok := tl.enter("b"); !ok {
		t.Error("another is not")
	} else {
		leave()
	}
	one()
	if three, ok := tl.enter("a"); !ok {
		t.Error("one left, none is let in")
	} else {
		three()
	}
	two()
	if len(tl.open) != 0 {
		t.Errorf("left behind: %v", tl.open)
	}
}

func TestForemost(t *testing.T) {
	wait := func(held int, turns ...uint64) *holder {
		h := &holder{most: 4, held: held}
		for _, turn := range turns {
			h.queue = append(h.queue, &ticket{width: 1, turn: turn})
		}
		return h
	}
	for name, tt := range map[string]struct {
		tenants map[string]*holder
		want    string
	}{
		"nobody waits":           {map[string]*holder{"a": wait(1)}, ""},
		"who holds least":        {map[string]*holder{"a": wait(3, 1), "b": wait(1, 2)}, "b"},
		"who has waited longest": {map[string]*holder{"a": wait(1, 2), "b": wait(1, 1, 3)}, "b"},
		"not who has enough":     {map[string]*holder{"a": wait(4, 1), "b": wait(5, 2)}, ""},
		"a wide one counts":      {map[string]*holder{"a": {most: 4, held: 0, queue: []*ticket{{width: 5}}}, "b": wait(3, 2)}, "b"},
	} {
		if got := foremost(tt.tenants); got != tt.tenants[tt.want] {
			t.Errorf("%s: %+v, want %s", name, got, tt.want)
		}
	}
}
