package cri

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// TestChurnLeaksNothing runs and removes many pods side by side: mounts, cgroups, links, files, descriptors and goroutines are as before.
func TestChurnLeaksNothing(t *testing.T) {
	b := newBed(t)
	round := func(n int) {
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				sub := *b
				pc := sub.sandboxConfig(fmt.Sprint("churn", i))
				pod := sub.pod(pc)
				id := sub.container(pod, pc, "echo x; sleep 100")
				if out, code := sub.exec(id, "echo", "y"); out != "y\n" || code != 0 {
					t.Errorf("exec: %q, %d", out, code)
				}
				if _, err := sub.r.RemovePodSandbox(sub.ctx(), &runtimeapi.RemovePodSandboxRequest{PodSandboxId: pod}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	meter := func() (string, int, int) {
		fds, _ := os.ReadDir("/proc/self/fd")
		return strings.Join(traces(t, b.cfg), "\n"), len(fds), runtime.NumGoroutine()
	}
	round(4) // what is made once and kept
	var before, after string
	var fds, routines, fds2, routines2 int
	before, fds, routines = meter()
	for range 4 {
		round(12)
	}
	for range 100 { // links and sockets go a little later
		if after, fds2, routines2 = meter(); subset(after, before) && fds2 <= fds && routines2 <= routines {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	was := strings.Split(before, "\n")
	is := strings.Split(after, "\n")
	more := slices.DeleteFunc(slices.Clone(is), func(s string) bool { return slices.Contains(was, s) })
	t.Errorf("descriptors %d to %d, goroutines %d to %d; new:\n%s", fds, fds2, routines, routines2, strings.Join(more, "\n"))
}

// subset reports whether all lines of a are lines of b.
func subset(a, b string) bool {
	have := strings.Split(b, "\n")
	for line := range strings.SplitSeq(a, "\n") {
		if !slices.Contains(have, line) {
			return false
		}
	}
	return true
}
