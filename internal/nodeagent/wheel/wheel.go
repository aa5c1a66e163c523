// Package wheel runs functions at times, all of them by one goroutine and one timer, which sleeps when nothing is due.
//
// It runs nothing that takes long: functions hand work on. Only nodeagent and its rooms import it.
package wheel

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// Wheel holds timers. Run must be running for them to fire.
type Wheel struct {
	clock clock.Clock
	news  chan struct{}

	mu   sync.Mutex
	heap timers
}

// Timer is one function to run once.
type Timer struct {
	at    time.Time
	f     func()
	index int // in the heap; -1 when it is not there
	w     *Wheel
}

// New returns an empty wheel.
func New(c clock.Clock) *Wheel { return &Wheel{clock: c, news: make(chan struct{}, 1)} }

// At runs f at t or soon after.
func (w *Wheel) At(t time.Time, f func()) *Timer {
	x := &Timer{at: t, f: f, w: w}
	w.mu.Lock()
	heap.Push(&w.heap, x)
	first := x.index == 0
	w.mu.Unlock()
	if first {
		select {
		case w.news <- struct{}{}:
		default:
		}
	}
	return x
}

// Stop keeps the function from running, if it has not begun. A nil Timer may be stopped.
func (t *Timer) Stop() {
	if t == nil {
		return
	}
	t.w.mu.Lock()
	defer t.w.mu.Unlock()
	if t.index >= 0 {
		heap.Remove(&t.w.heap, t.index)
	}
}

// Len is how many timers wait.
func (w *Wheel) Len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.heap)
}

// Run fires timers until ctx ends.
func (w *Wheel) Run(ctx context.Context) {
	var timer clock.Timer
	for {
		var due []func()
		var wait <-chan time.Time
		w.mu.Lock()
		now := w.clock.Now()
		for len(w.heap) > 0 && !w.heap[0].at.After(now) {
			due = append(due, heap.Pop(&w.heap).(*Timer).f)
		}
		if len(w.heap) > 0 {
			d := w.heap[0].at.Sub(now)
			if timer == nil {
				timer = w.clock.NewTimer(d)
			} else {
				timer.Stop()
				select {
				case <-timer.C():
				default:
				}
				timer.Reset(d)
			}
			wait = timer.C()
		}
		w.mu.Unlock()
		for _, f := range due {
			f()
		}
		if len(due) > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			if timer != nil {
				timer.Stop()
			}
			return
		case <-w.news:
		case <-wait:
		}
	}
}

type timers []*Timer

func (h timers) Len() int           { return len(h) }
func (h timers) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h timers) Swap(i, j int)      { h[i], h[j] = h[j], h[i]; h[i].index, h[j].index = i, j }
func (h *timers) Push(x any)        { t := x.(*Timer); t.index = len(*h); *h = append(*h, t) }
func (h *timers) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	t.index = -1
	return t
}
