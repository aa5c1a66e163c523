package server

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// reaper buries orphans: processes of containers without a PID namespace of their own, and of external runtimes, fall to
// the monitor when their parents end. Children that somebody waits for are left alone.
type reaper struct {
	mu     sync.Mutex
	known  map[int]int
	buried int // how many
}

func newReaper(ctx context.Context) *reaper {
	_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	r := &reaper{known: map[int]int{}}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	go func() {
		for {
			select {
			case <-ended:
				// Whoever waits for a child of its own comes first.
				select {
				case <-time.After(time.Second):
				case <-ctx.Done():
					return
				}
				r.bury()
			case <-ctx.Done():
				return
			}
		}
	}()
	return r
}

// keep marks a child that somebody waits for, until the returned function is called.
func (r *reaper) keep(pid int) (done func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known[pid]++
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.known[pid]--; r.known[pid] <= 0 {
			delete(r.known, pid)
		}
	}
}

// bury reaps zombies nobody waits for. A zombie that is kept hides those behind it; the next death asks again.
func (r *reaper) bury() {
	for {
		var si unix.Siginfo
		if err := unix.Waitid(unix.P_ALL, 0, &si, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); err != nil || si.Signo == 0 {
			return
		}
		pid := siginfoPid(&si)
		r.mu.Lock()
		kept := r.known[pid] > 0
		if !kept {
			if got, err := unix.Wait4(pid, nil, unix.WNOHANG|unix.WALL, nil); err == nil && got == pid { // else its waiter was here meanwhile
				r.buried++
			}
		}
		r.mu.Unlock()
		if kept {
			return
		}
	}
}
