package docker

import (
	"testing"
	"testing/synctest"
	"time"

	de "github.com/moby/moby/api/types/events"
)

// A reader of the past waits for what the engine has told and the hub has not handed out yet.
func TestAwaitTranslation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, done := newHub(), false
		go func() { h.await(2, nil); done = true }()
		for seq, want := range []bool{false, false, true} {
			h.translated(uint64(seq))
			if synctest.Wait(); done != want {
				t.Errorf("after event %d: done is %t", seq, done)
			}
		}
		h.await(1, nil)
		end := make(chan struct{})
		close(end)
		h.await(9, end)
	})
}

// Who waits for one container's end hears of that alone, and leaves nothing behind.
func TestFollow(t *testing.T) {
	h := newHub()
	all, _ := h.subscribe(time.Time{}, false)
	a, b := h.follow("a"), h.follow("b")
	for _, e := range []struct {
		kind   de.Type
		action de.Action
		id     string
	}{
		{de.ContainerEventType, de.ActionStart, "a"},
		{de.ContainerEventType, de.ActionDie, "a"},
		{de.NetworkEventType, de.ActionDestroy, "a"},
		{de.ContainerEventType, de.ActionDestroy, "a"},
		{de.ContainerEventType, de.ActionDie, "c"},
	} {
		h.publish(e.kind, e.action, e.id, nil, time.Now())
	}
	if len(all.ch) != 5 || len(a.ch) != 2 || len(b.ch) != 0 {
		t.Fatalf("heard %d of all, %d of a, %d of b", len(all.ch), len(a.ch), len(b.ch))
	}
	if first, second := <-a.ch, <-a.ch; first.Action != de.ActionDie || second.Action != de.ActionDestroy || first.Actor.ID != "a" {
		t.Errorf("heard %v, %v", first, second)
	}
	if n := h.listeners(); n != 1 {
		t.Errorf("%d listen to all", n)
	}
	for range cap(b.ch) + 1 { // nobody reads: it is let go
		h.publish(de.ContainerEventType, de.ActionDie, "b", nil, time.Now())
	}
	for range cap(b.ch) {
		<-b.ch
	}
	if _, open := <-b.ch; open {
		t.Error("who reads nothing is not let go")
	}
	for _, sub := range []*subscriber{all, a, b} {
		h.unsubscribe(sub)
	}
	if len(h.subs) > 0 || len(h.ends) > 0 {
		t.Errorf("left: %v %v", h.subs, h.ends)
	}
}
