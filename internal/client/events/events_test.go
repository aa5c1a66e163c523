package events

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
)

// sink is an API server that writes calls down.
type sink struct {
	mu   sync.Mutex
	log  []string
	at   []time.Time
	fail func(call string) error
}

func (s *sink) call(verb, name string, count int32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := verb + " " + name + " " + string('0'+rune(count))
	s.log, s.at = append(s.log, text), append(s.at, time.Now())
	if s.fail != nil {
		return s.fail(text)
	}
	return nil
}

func (s *sink) calls() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := slices.Clone(s.log)
	slices.Sort(out)
	return out
}

func (s *sink) Create(e *corev1.Event) (*corev1.Event, error) {
	return e, s.call("create", e.Name, e.Count)
}
func (s *sink) Update(e *corev1.Event) (*corev1.Event, error) {
	return e, s.call("update", e.Name, e.Count)
}
func (s *sink) Patch(e *corev1.Event, _ []byte) (*corev1.Event, error) {
	return e, s.call("patch", e.Name, e.Count)
}

type sinkV1 struct{ sink }

func (s *sinkV1) Create(_ context.Context, e *eventsv1.Event) (*eventsv1.Event, error) {
	return e, s.call("create", e.Name, 1)
}
func (s *sinkV1) Update(_ context.Context, e *eventsv1.Event) (*eventsv1.Event, error) {
	return e, s.call("update", e.Name, 1)
}
func (s *sinkV1) Patch(_ context.Context, e *eventsv1.Event, _ []byte) (*eventsv1.Event, error) {
	return e, s.call("patch", e.Name, 1)
}

func event(name string, count int32) *corev1.Event {
	return &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Count: count}
}

// in runs f with a writer over a sink, in a bubble whose time is stepped.
func in(t *testing.T, f func(w *Writer, s *sink, to record.EventSink)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w, s := New(clock.RealClock{}, slog.New(slog.DiscardHandler)), &sink{}
		defer w.Close()
		f(w, s, w.Core(s))
	})
}

func must(t *testing.T) func(any, error) {
	return func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
}

func want(t *testing.T, s *sink, calls ...string) {
	t.Helper()
	if got := s.calls(); !slices.Equal(got, calls) {
		t.Errorf("calls %q, want %q", got, calls)
	}
}

func TestEventsOfAMomentAreOneGust(t *testing.T) {
	in(t, func(w *Writer, s *sink, to record.EventSink) {
		other := &sinkV1{}
		must(t)(to.Create(event("a", 1)))
		time.Sleep(hold / 2)
		must(t)(to.Create(event("b", 1)))
		must(t)(w.V1(other).Create(t.Context(), &eventsv1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "a"}}))
		synctest.Wait()
		want(t, s) // all are held
		time.Sleep(hold / 2)
		synctest.Wait()
		want(t, s, "create a 1", "create b 1")
		want(t, &other.sink, "create a 1")
		if !s.at[0].Equal(s.at[1]) {
			t.Errorf("written at %v", s.at)
		}
		time.Sleep(time.Hour)
		want(t, s, "create a 1", "create b 1")
	})
}

func TestCountedUpBeforeItIsWritten(t *testing.T) {
	in(t, func(_ *Writer, s *sink, to record.EventSink) {
		must(t)(to.Create(event("a", 1)))
		must(t)(to.Patch(event("a", 2), nil))
		must(t)(to.Patch(event("a", 3), nil))
		time.Sleep(2 * hold)
		want(t, s, "create a 3")
		must(t)(to.Patch(event("a", 4), nil))
		time.Sleep(2 * hold)
		want(t, s, "create a 3", "patch a 4")
	})
}

func TestAnEventThatExpiredIsCreatedAgain(t *testing.T) {
	in(t, func(_ *Writer, s *sink, to record.EventSink) {
		s.fail = func(call string) error {
			if call == "patch a 2" {
				return apierrors.NewNotFound(corev1.Resource("events"), "a")
			}
			return nil
		}
		must(t)(to.Patch(event("a", 2), nil))
		time.Sleep(2 * hold)
		want(t, s, "create a 2", "patch a 2")
	})
}

func TestOnlyTheConnectionsFailuresAreTriedAgain(t *testing.T) {
	in(t, func(_ *Writer, s *sink, to record.EventSink) {
		down := true
		s.fail = func(call string) error {
			switch {
			case call == "create refused 1":
				return apierrors.NewForbidden(corev1.Resource("events"), "refused", errors.New("no"))
			case down:
				return errors.New("connection refused")
			}
			return nil
		}
		must(t)(to.Create(event("refused", 1)))
		must(t)(to.Create(event("a", 1)))
		time.Sleep(hold)
		synctest.Wait()
		want(t, s, "create a 1", "create refused 1")
		s.mu.Lock()
		down, s.log = false, nil
		s.mu.Unlock()
		must(t)(to.Patch(event("a", 2), nil)) // after the creation that failed
		time.Sleep(retry)
		synctest.Wait()
		if got := s.log; !slices.Equal(got, []string{"create a 1", "patch a 2"}) {
			t.Errorf("calls %q", got)
		}
	})
}

func TestItGivesUp(t *testing.T) {
	in(t, func(_ *Writer, s *sink, to record.EventSink) {
		s.fail = func(string) error { return errors.New("connection refused") }
		must(t)(to.Create(event("a", 1)))
		time.Sleep(time.Hour)
		if n := len(s.calls()); n != tries {
			t.Errorf("%d tries, want %d", n, tries)
		}
	})
}

func TestAFloodIsRefusedAndWrittenAFewAtOnce(t *testing.T) {
	in(t, func(_ *Writer, s *sink, _ record.EventSink) {
		var mu sync.Mutex
		var now, most int
		s.fail = func(string) error { return nil }
		slow := &slowSink{sink: s, enter: func() {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(time.Millisecond)
			mu.Lock()
			now--
			mu.Unlock()
		}}
		w := New(clock.RealClock{}, slog.New(slog.DiscardHandler))
		defer w.Close()
		to := w.Core(slow)
		refused := 0
		for i := range capacity + 10 {
			if _, err := to.Create(event(string(rune('a'+i%26))+time.Duration(i).String(), 1)); err != nil {
				refused++
				if !apierrors.IsTooManyRequests(err) {
					t.Fatalf("refused with %v", err)
				}
			}
		}
		time.Sleep(time.Minute)
		if refused != 10 || len(s.calls()) != capacity || most != abreast {
			t.Errorf("%d refused, %d written, %d at once", refused, len(s.calls()), most)
		}
	})
}

type slowSink struct {
	*sink
	enter func()
}

func (s *slowSink) Create(e *corev1.Event) (*corev1.Event, error) {
	s.enter()
	return s.sink.Create(e)
}

func TestCloseWritesWhatWaits(t *testing.T) {
	in(t, func(w *Writer, s *sink, to record.EventSink) {
		must(t)(to.Create(event("a", 1)))
		w.Close()
		want(t, s, "create a 1")
		if _, err := to.Create(event("b", 1)); !apierrors.IsTooManyRequests(err) {
			t.Errorf("after Close: %v", err)
		}
	})
}
