package events

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestReadersSeeEventsInOrder(t *testing.T) {
	var b Bus
	s := b.Subscribe()
	b.Publish(Event{Kind: Container, Action: Create, ID: "a"})
	b.Publish(Event{Kind: Container, Action: Start, ID: "a"})
	got, err := s.Next(context.Background())
	if err != nil || len(got) != 2 || got[0].Action != Create || got[1].Seq != 2 {
		t.Fatalf("got %v, %v", got, err)
	}
	s.Close()
	if _, err := s.Next(context.Background()); !errors.Is(err, ErrClosed) {
		t.Fatalf("after Close: %v", err)
	}
}

func TestSlowReaderIsCutNotWaitedFor(t *testing.T) {
	var b Bus
	s := b.Subscribe()
	for range queue + 1 {
		b.Publish(Event{})
	}
	if _, err := s.Next(context.Background()); !errors.Is(err, ErrSlow) {
		t.Fatalf("got %v", err)
	}
}

func TestSinceReplaysKeptEvents(t *testing.T) {
	var b Bus
	at := time.Unix(1000, 0)
	for i := range kept + 10 {
		b.Publish(Event{Time: at.Add(time.Duration(i) * time.Second)})
	}
	s, past := b.SubscribeSince(at.Add(time.Duration(kept+5) * time.Second))
	defer s.Close()
	if len(past) != 5 {
		t.Fatalf("replayed %d events, want 5", len(past))
	}
	b.Close()
	if _, err := s.Next(context.Background()); !errors.Is(err, ErrClosed) {
		t.Fatalf("after bus closed: %v", err)
	}
}
