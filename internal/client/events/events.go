// Package events writes the Events of all components of a process in gusts.
//
// What a component records is held for a moment and goes to the API server together with whatever others recorded
// meanwhile: a pod's way from Scheduled to Started is one gust, whose writes share syncs of the store's log and wake the
// process once. An Event that is counted up before it was written is written once, with the count.
//
// The recorders, with their correlation and their limits, are client-go's; a [Writer] stands between them and the API.
// It answers a recorder at once and tries again itself what failed for the connection's sake. Events that are held when
// the process is killed are lost, as those are that wait in a recorder.
package events

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	eventsv1sink "k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
)

const (
	hold     = 100 * time.Millisecond // from an Event's being recorded to its gust
	retry    = time.Second            // to the next gust when writes failed for the connection's sake
	tries    = 12                     // of one Event
	capacity = 4096                   // Events that may wait; more are refused
	abreast  = 16                     // writes at once
	farewell = time.Second            // for the last gust
)

// Writer holds Events and writes them.
type Writer struct {
	clock clock.WithDelayedExecution
	log   *slog.Logger
	ctx   context.Context
	end   context.CancelFunc

	mu      sync.Mutex
	queue   []*write
	created map[key]*write // creations in queue
	timer   clock.Timer    // nil: no gust is due
	blowing bool           // a gust goes on
	closed  bool
	idle    sync.WaitGroup // gusts
}

// key is an Event of an identity: two identities' Events never meet.
type key struct {
	sink            any
	namespace, name string
}

// write is one call that waits.
type write struct {
	key   key
	do    func(context.Context) error
	tried int
}

// New returns a Writer. Close must be called.
func New(c clock.WithDelayedExecution, log *slog.Logger) *Writer {
	w := &Writer{clock: c, log: log, created: map[key]*write{}}
	w.ctx, w.end = context.WithCancel(context.Background())
	return w
}

// Close writes what waits, for a second at most. Events that come later are refused.
func (w *Writer) Close() {
	w.mu.Lock()
	w.closed = true
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
	w.mu.Unlock()
	last := time.AfterFunc(farewell, w.end)
	defer last.Stop()
	w.idle.Wait()
	w.blow()
	w.end()
}

// Core puts w in front of sink, which writes the Events of the core group.
func (w *Writer) Core(sink record.EventSink) record.EventSink { return &coreSink{w, sink} }

// V1 puts w in front of sink, which writes the Events of the group events.k8s.io.
func (w *Writer) V1(sink eventsv1sink.EventSink) eventsv1sink.EventSink { return &v1Sink{w, sink} }

type coreSink struct {
	w    *Writer
	next record.EventSink
}

func (s *coreSink) Create(e *corev1.Event) (*corev1.Event, error) {
	return e, s.w.create(s.key(e), func(context.Context) error { _, err := s.next.Create(e); return err })
}

func (s *coreSink) Update(e *corev1.Event) (*corev1.Event, error) {
	return e, s.w.change(s.key(e), func(context.Context) error { _, err := s.next.Update(e); return err })
}

func (s *coreSink) Patch(e *corev1.Event, patch []byte) (*corev1.Event, error) {
	return e, s.w.patch(s.key(e), func(context.Context) error { _, err := s.next.Patch(e, patch); return err },
		func(context.Context) error {
			fresh := *e
			fresh.ResourceVersion = ""
			_, err := s.next.Create(&fresh)
			return err
		})
}

func (s *coreSink) key(e metav1.Object) key { return key{s, e.GetNamespace(), e.GetName()} }

type v1Sink struct {
	w    *Writer
	next eventsv1sink.EventSink
}

func (s *v1Sink) Create(_ context.Context, e *eventsv1.Event) (*eventsv1.Event, error) {
	return e, s.w.create(s.key(e), func(ctx context.Context) error { _, err := s.next.Create(ctx, e); return err })
}

func (s *v1Sink) Update(_ context.Context, e *eventsv1.Event) (*eventsv1.Event, error) {
	return e, s.w.change(s.key(e), func(ctx context.Context) error { _, err := s.next.Update(ctx, e); return err })
}

func (s *v1Sink) Patch(_ context.Context, e *eventsv1.Event, patch []byte) (*eventsv1.Event, error) {
	return e, s.w.patch(s.key(e), func(ctx context.Context) error { _, err := s.next.Patch(ctx, e, patch); return err },
		func(ctx context.Context) error {
			fresh := *e
			fresh.ResourceVersion = ""
			_, err := s.next.Create(ctx, &fresh)
			return err
		})
}

func (s *v1Sink) key(e metav1.Object) key { return key{s, e.GetNamespace(), e.GetName()} }

// errFull refuses an Event. Recorders give up on an error of the API's kind, with a line in the log.
var errFull = apierrors.NewTooManyRequests("record event: too many wait to be written", 1)

func (w *Writer) create(k key, do func(context.Context) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	x := &write{key: k, do: do}
	if err := w.push(x); err != nil {
		return err
	}
	w.created[k] = x
	return nil
}

func (w *Writer) change(k key, do func(context.Context) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.push(&write{key: k, do: do})
}

// patch takes a change of an Event, and what creates the changed Event: it is used where the Event was not written yet, or
// is there no more.
func (w *Writer) patch(k key, do, create func(context.Context) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if x := w.created[k]; x != nil && !w.closed {
		x.do = create
		return nil
	}
	return w.push(&write{key: k, do: func(ctx context.Context) error {
		err := do(ctx)
		if apierrors.IsNotFound(err) {
			err = create(ctx)
		}
		return err
	}})
}

// push queues x; mu is held.
func (w *Writer) push(x *write) error {
	if w.closed || len(w.queue) >= capacity {
		return errFull
	}
	w.queue = append(w.queue, x)
	w.plan(hold)
	return nil
}

// plan has a gust blow in d, unless one is due or goes on; mu is held.
func (w *Writer) plan(d time.Duration) {
	if w.timer != nil || w.blowing || w.closed {
		return
	}
	w.timer = w.clock.AfterFunc(d, func() {
		w.mu.Lock()
		if w.closed {
			w.mu.Unlock()
			return
		}
		w.timer, w.blowing = nil, true
		w.idle.Add(1)
		w.mu.Unlock()
		go func() {
			defer w.idle.Done()
			w.blow()
		}()
	})
}

// blow writes all that waits: Events beside each other, the writes of one Event one after the other.
func (w *Writer) blow() {
	w.mu.Lock()
	queue := w.queue
	w.queue = nil
	clear(w.created)
	w.mu.Unlock()
	var order [][]*write
	index := map[key]int{}
	for _, x := range queue {
		i, ok := index[x.key]
		if !ok {
			i = len(order)
			index[x.key] = i
			order = append(order, nil)
		}
		order[i] = append(order[i], x)
	}
	var mu sync.Mutex
	var again []*write
	var group sync.WaitGroup
	slots := make(chan struct{}, abreast)
	for _, list := range order {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			for i, x := range list {
				if w.attempt(x) {
					continue
				}
				mu.Lock()
				again = append(again, list[i:]...)
				mu.Unlock()
				return
			}
		})
	}
	group.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.blowing = false
	w.queue = append(again, w.queue...)
	switch {
	case len(again) > 0:
		w.plan(retry)
	case len(w.queue) > 0:
		w.plan(hold)
	}
}

// attempt tells whether x is over: written, refused by the API server, or tried too often.
func (w *Writer) attempt(x *write) bool {
	err := x.do(w.ctx)
	x.tried++
	var refused apierrors.APIStatus
	switch {
	case err == nil:
	case errors.As(err, &refused) && !apierrors.IsTooManyRequests(err) && !apierrors.IsServiceUnavailable(err):
		// An Event of a namespace that is being deleted, or is gone, is nobody's loss.
		if !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) && !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			w.log.Warn("write event", "namespace", x.key.namespace, "event", x.key.name, "error", err)
		}
	case w.ctx.Err() != nil:
	case x.tried < tries:
		return false
	default:
		w.log.Warn("write event", "namespace", x.key.namespace, "event", x.key.name, "tries", x.tried, "error", err)
	}
	return true
}
