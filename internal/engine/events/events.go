// Package events carries what happens in the engine to whoever listens: CRI's event stream, Docker's, restart policies.
//
// A Bus numbers events, keeps the last few for readers that come late, and never waits for a reader: one that falls too far
// behind gets ErrSlow and must list anew. Events are facts that have happened; the truth is in the records.
package events

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Kind is the noun an event is about.
type Kind string

// The kinds.
const (
	Sandbox   Kind = "sandbox"
	Container Kind = "container"
	Image     Kind = "image"
	Network   Kind = "network"
	Volume    Kind = "volume"
)

// Action is the verb. Docker's words, since its clients parse them.
type Action string

// The actions.
const (
	Create     Action = "create"
	Start      Action = "start"
	Stop       Action = "stop" // asked to stop
	Die        Action = "die"  // the process has ended
	OOM        Action = "oom"
	Destroy    Action = "destroy"
	Pause      Action = "pause"
	Unpause    Action = "unpause"
	Rename     Action = "rename"
	Update     Action = "update"
	Kill       Action = "kill"
	ExecCreate Action = "exec_create"
	ExecStart  Action = "exec_start"
	ExecDie    Action = "exec_die"
	Connect    Action = "connect"
	Disconnect Action = "disconnect"
	Pull       Action = "pull"
	Tag        Action = "tag"
	Untag      Action = "untag"
	Delete     Action = "delete"
)

// Event is one fact.
type Event struct {
	Seq      uint64
	Time     time.Time
	Kind     Kind
	Action   Action
	ID       string
	Sandbox  string            // of a container
	ExitCode int               // of Die and ExecDie
	Attrs    map[string]string // read-only
}

// ErrSlow ends a subscription whose reader fell too far behind.
var ErrSlow = errors.New("read events: reader fell too far behind; list and subscribe again")

// ErrClosed ends a subscription when the bus or the subscription closes.
var ErrClosed = errors.New("read events: closed")

const (
	kept  = 1024  // events kept for Since
	queue = 16384 // events a reader may be behind
)

// Bus is the meeting point. The zero value is ready.
type Bus struct {
	mu     sync.Mutex
	seq    uint64
	ring   []Event
	subs   map[*Subscription]struct{}
	closed bool
}

// Publish numbers e, stamps its time if it has none, and hands it to all readers.
func (b *Bus) Publish(e Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.seq++
	e.Seq = b.seq
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	if len(b.ring) == kept {
		copy(b.ring, b.ring[1:])
		b.ring = b.ring[:kept-1]
	}
	b.ring = append(b.ring, e)
	for s := range b.subs {
		s.push(e)
	}
}

// Subscribe returns a reader of events from now on.
func (b *Bus) Subscribe() *Subscription {
	s, _ := b.SubscribeSince(time.Time{})
	return s
}

// SubscribeSince returns a reader of events from now on, and the kept events at or after since. A zero since keeps none.
func (b *Bus) SubscribeSince(since time.Time) (*Subscription, []Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var past []Event
	if !since.IsZero() {
		for _, e := range b.ring {
			if !e.Time.Before(since) {
				past = append(past, e)
			}
		}
	}
	s := &Subscription{bus: b, after: b.seq, wake: make(chan struct{}, 1)}
	if b.closed {
		s.err = ErrClosed
		return s, past
	}
	if b.subs == nil {
		b.subs = map[*Subscription]struct{}{}
	}
	b.subs[s] = struct{}{}
	return s, past
}

// Last is the number of the newest event.
func (b *Bus) Last() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.seq
}

// Close ends all subscriptions.
func (b *Bus) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	for s := range b.subs {
		s.end(ErrClosed)
	}
	b.subs = nil
}

// Subscription is one reader's queue.
type Subscription struct {
	bus   *Bus
	after uint64
	mu    sync.Mutex
	q     []Event
	err   error
	wake  chan struct{}
}

// After is the number of the last event before the subscription.
func (s *Subscription) After() uint64 { return s.after }

func (s *Subscription) push(e Event) {
	s.mu.Lock()
	if len(s.q) >= queue {
		s.q, s.err = nil, ErrSlow
	} else if s.err == nil {
		s.q = append(s.q, e)
	}
	s.mu.Unlock()
	s.nudge()
}

func (s *Subscription) end(err error) {
	s.mu.Lock()
	if s.err == nil {
		s.err = err
	}
	s.mu.Unlock()
	s.nudge()
}

func (s *Subscription) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Next waits for events and returns all that are there. Events queued before the end are returned before the error.
func (s *Subscription) Next(ctx context.Context) ([]Event, error) {
	for {
		s.mu.Lock()
		q, err := s.q, s.err
		s.q = nil
		s.mu.Unlock()
		if len(q) > 0 {
			return q, nil
		}
		if err != nil {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-s.wake:
		}
	}
}

// Close ends the subscription.
func (s *Subscription) Close() {
	s.bus.mu.Lock()
	delete(s.bus.subs, s)
	s.bus.mu.Unlock()
	s.end(ErrClosed)
}
