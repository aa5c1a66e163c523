// Package queue holds the pods that wait for a node: those ready to be tried,
// in order of priority and age; those that failed and sit out a back-off; and
// those that no node takes, until an event that may help them. Time is an
// argument. It takes no locks and starts no goroutines: the scheduler
// serialises access.
package queue

import (
	"container/heap"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"nau/internal/scheduler/plugin"
)

// Back-off of a pod that did not fit: it doubles from the first to the last,
// as kube-scheduler's defaults.
const (
	FirstBackoff = 1 * time.Second
	LastBackoff  = 10 * time.Second
	// Leftover is how long a pod may wait unwoken before it is tried anyway.
	Leftover = 5 * time.Minute
)

type place int

const (
	ready place = iota
	backingOff
	failing
	unschedulable
	inFlight
	gated
)

// Item is a waiting pod.
type Item struct {
	Pod      *plugin.Pod
	Attempts int
	Added    time.Time // when it was first seen

	place    place
	index    int       // in its heap
	due      time.Time // end of its back-off
	since    time.Time // when it became unschedulable
	plugins  []string  // who rejected it last
	woken    bool      // an event came while it was being tried
	previous string
}

// Queue is the places together.
type Queue struct {
	items   map[types.UID]*Item
	ready   readyHeap
	backoff backoffHeap // woken by an event; tried before their time where nothing else is (KEP-5142)
	failing backoffHeap // their attempt went wrong, as the next may: they sit out their time
	hinters map[string]Hinter
}

// Hinter is a rule that can say whether an event may help a pod it rejected.
type Hinter interface {
	Helps(plugin.Event, *plugin.Pod) bool
}

// New gives an empty queue; the hinters, by the rules' names, say which events
// help.
func New(hinters map[string]Hinter) *Queue {
	return &Queue{items: map[types.UID]*Item{}, hinters: hinters}
}

// Len is the number of pods that wait, in all places.
func (q *Queue) Len() int { return len(q.items) }

// Add puts in a pod that waits for a node, or takes in its new version.
func (q *Queue) Add(p *plugin.Pod, now time.Time) {
	item := q.items[p.Object.UID]
	if item == nil {
		item = &Item{Pod: p, Added: now, place: gated}
		q.items[p.Object.UID] = item
		q.settle(item)
		return
	}
	old := item.Pod
	item.Pod = p
	switch item.place {
	case gated:
		q.settle(item)
	case ready:
		heap.Fix(&q.ready, item.index)
	case unschedulable:
		if old.Class != p.Class || len(p.Object.Spec.SchedulingGates) != len(old.Object.Spec.SchedulingGates) {
			q.wake(item, now)
		}
	case inFlight:
		item.woken = item.woken || old.Class != p.Class
	}
}

// settle sends a new or ungated pod to where it belongs.
func (q *Queue) settle(item *Item) {
	if len(item.Pod.Object.Spec.SchedulingGates) > 0 {
		item.place = gated
		return
	}
	item.place = ready
	heap.Push(&q.ready, item)
}

// Remove takes a pod out, wherever it is.
func (q *Queue) Remove(uid types.UID) {
	item := q.items[uid]
	if item == nil {
		return
	}
	delete(q.items, uid)
	switch item.place {
	case ready:
		heap.Remove(&q.ready, item.index)
	case backingOff:
		heap.Remove(&q.backoff, item.index)
	case failing:
		heap.Remove(&q.failing, item.index)
	}
}

// Pop gives the next pod to try, or nil. The pod stays known until Remove or
// Failed. A back-off holds pods back for the sake of others; where there are
// none, a pod that an event may help is tried at once.
func (q *Queue) Pop(now time.Time) *Item {
	q.flush(&q.backoff, now)
	q.flush(&q.failing, now)
	var item *Item
	switch {
	case len(q.ready) > 0:
		item = heap.Pop(&q.ready).(*Item)
	case len(q.backoff) > 0:
		item = heap.Pop(&q.backoff).(*Item)
	default:
		return nil
	}
	item.place, item.woken = inFlight, false
	item.Attempts++
	return item
}

// Next is when Pop may have something to give though nothing is added: the end
// of the earliest back-off or the age at which a leftover is tried. ok is false
// where nothing waits for time to pass.
func (q *Queue) Next() (due time.Time, ok bool) {
	for _, h := range []backoffHeap{q.backoff, q.failing} {
		if len(h) > 0 && (!ok || h[0].due.Before(due)) {
			due, ok = h[0].due, true
		}
	}
	for _, item := range q.items {
		if item.place != unschedulable {
			continue
		}
		if at := item.since.Add(Leftover); !ok || at.Before(due) {
			due, ok = at, true
		}
	}
	return due, ok
}

func (q *Queue) flush(h *backoffHeap, now time.Time) {
	for len(*h) > 0 && !(*h)[0].due.After(now) {
		item := heap.Pop(h).(*Item)
		item.place = ready
		heap.Push(&q.ready, item)
	}
}

// FlushLeftovers makes pods ready that have waited too long without an event.
func (q *Queue) FlushLeftovers(now time.Time) {
	for _, item := range q.items {
		if item.place == unschedulable && now.Sub(item.since) >= Leftover {
			q.wake(item, now)
		}
	}
}

// Failed puts back a pod that no node took, with the plugins that rejected it,
// or, with retry, one whose binding failed for another reason.
func (q *Queue) Failed(item *Item, plugins []string, retry bool, now time.Time) {
	if q.items[item.Pod.Object.UID] != item {
		return // removed meanwhile
	}
	item.plugins = plugins
	item.due = now.Add(backoff(item.Attempts))
	item.since = now
	item.place = unschedulable
	switch {
	case retry:
		item.place = failing
		heap.Push(&q.failing, item)
	case item.woken:
		q.wake(item, now)
	}
}

func backoff(attempts int) time.Duration {
	d := FirstBackoff
	for i := 1; i < attempts && d < LastBackoff; i++ {
		d *= 2
	}
	return min(d, LastBackoff)
}

// Event wakes the pods that it may help and tells how many.
func (q *Queue) Event(e plugin.Event, now time.Time) int {
	woken := 0
	for _, item := range q.items {
		switch item.place {
		case unschedulable:
			if q.helps(e, item) {
				q.wake(item, now)
				woken++
			}
		case inFlight:
			item.woken = true // it is being judged on what was before the event
		}
	}
	return woken
}

// Activate wakes one pod, whatever it waits for.
func (q *Queue) Activate(uid types.UID, now time.Time) {
	item := q.items[uid]
	switch {
	case item == nil:
	case item.place == unschedulable:
		item.due = now
		q.wake(item, now)
	case item.place == inFlight:
		item.woken = true
	}
}

func (q *Queue) helps(e plugin.Event, item *Item) bool {
	if len(item.plugins) == 0 {
		return e.Kind == plugin.NodeAdded || e.Kind == plugin.NodeChanged
	}
	for _, name := range item.plugins {
		if h := q.hinters[name]; h != nil && h.Helps(e, item.Pod) {
			return true
		}
	}
	return false
}

func (q *Queue) wake(item *Item, now time.Time) {
	if item.due.After(now) {
		item.place = backingOff
		heap.Push(&q.backoff, item)
		return
	}
	item.place = ready
	heap.Push(&q.ready, item)
}

// Reported tells whether the same failure has been reported for the pod before,
// and notes it: a pod that waits for the same reason is not written again.
func (i *Item) Reported(message string) bool {
	if i.previous == message {
		return true
	}
	i.previous = message
	return false
}
