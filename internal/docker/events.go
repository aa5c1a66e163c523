package docker

import (
	"context"
	"encoding/json"
	"io"
	"iter"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	de "github.com/moby/moby/api/types/events"

	"nau/internal/engine/container"
	"nau/internal/engine/events"
)

// remembered is how many events are kept for clients that ask for the past.
const remembered = 2048

// hub hands events in Docker's form to whoever listens.
type hub struct {
	mu   sync.Mutex
	past []de.Message
	subs map[*subscriber]bool
	ends map[string]map[*subscriber]bool // who waits for the end of one container, by its ID
	// attrs are what events tell of containers, kept for events that come after the container is gone.
	attrs map[string]map[string]string
	// reached is the number of the engine's last event that was translated; moved, if somebody waits for it, is closed when it grows.
	reached uint64
	moved   chan struct{}
}

// subscriber is one listener. A listener that falls too far behind is let go: its channel closes.
type subscriber struct {
	ch chan de.Message
	of string // the container whose ends it hears of; "" = it hears all
}

func newHub() *hub {
	return &hub{subs: map[*subscriber]bool{}, ends: map[string]map[*subscriber]bool{}, attrs: map[string]map[string]string{}}
}

// subscribe listens from now on, and gives what is kept of the past: after since, or all of it.
func (h *hub) subscribe(since time.Time, all bool) (*subscriber, []de.Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	sub := &subscriber{ch: make(chan de.Message, 1024)}
	h.subs[sub] = true
	var past []de.Message
	if all || !since.IsZero() {
		for _, m := range h.past {
			if since.IsZero() || m.TimeNano >= since.UnixNano() {
				past = append(past, m)
			}
		}
	}
	return sub, past
}

// waiting takes the messages that are there by now.
func (sub *subscriber) waiting() iter.Seq[de.Message] {
	return func(yield func(de.Message) bool) {
		for {
			select {
			case m, ok := <-sub.ch:
				if !ok || !yield(m) {
					return
				}
			default:
				return
			}
		}
	}
}

// follow listens from now on to the ends of one container's runs and to its removal: thousands may wait, each for its own, and none is woken by
// what others do.
func (h *hub) follow(id string) *subscriber {
	h.mu.Lock()
	defer h.mu.Unlock()
	sub := &subscriber{ch: make(chan de.Message, 16), of: id}
	if h.ends[id] == nil {
		h.ends[id] = map[*subscriber]bool{}
	}
	h.ends[id][sub] = true
	return sub
}

// listeners counts who listens.
func (h *hub) listeners() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.subs)
}

func (h *hub) unsubscribe(sub *subscriber) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.drop(sub)
}

// drop forgets a listener. The lock is held.
func (h *hub) drop(sub *subscriber) {
	if sub.of == "" {
		delete(h.subs, sub)
		return
	}
	if delete(h.ends[sub.of], sub); len(h.ends[sub.of]) == 0 {
		delete(h.ends, sub.of)
	}
}

// hand gives a message to listeners. The lock is held.
func (h *hub) hand(m de.Message, to map[*subscriber]bool) {
	for sub := range to {
		select {
		case sub.ch <- m:
		default:
			close(sub.ch)
			h.drop(sub)
		}
	}
}

// translated notes that the engine's events up to seq were handed out.
func (h *hub) translated(seq uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reached = seq
	if h.moved != nil {
		close(h.moved)
		h.moved = nil
	}
}

// await returns when the engine's events up to seq were handed out.
func (h *hub) await(seq uint64, end <-chan struct{}) {
	for {
		h.mu.Lock()
		if h.reached >= seq {
			h.mu.Unlock()
			return
		}
		if h.moved == nil {
			h.moved = make(chan struct{})
		}
		moved := h.moved
		h.mu.Unlock()
		select {
		case <-moved:
		case <-end:
			return
		}
	}
}

func (h *hub) publish(kind de.Type, action de.Action, id string, attrs map[string]string, at time.Time) {
	if at.IsZero() {
		at = time.Now()
	}
	if attrs == nil {
		attrs = map[string]string{}
	}
	m := de.Message{Type: kind, Action: action, Actor: de.Actor{ID: id, Attributes: attrs}, Scope: "local", Time: at.Unix(), TimeNano: at.UnixNano()}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.past = append(h.past, m); len(h.past) > 2*remembered {
		h.past = slices.Clone(h.past[len(h.past)-remembered:])
	}
	h.hand(m, h.subs)
	if kind == de.ContainerEventType && (action == de.ActionDie || action == de.ActionDestroy) {
		h.hand(m, h.ends[id])
	}
}

// container publishes an event of a container with what is known of it.
func (h *hub) container(action de.Action, r *container.Record, more map[string]string) {
	a := attributes(r)
	maps.Copy(a, more)
	h.publish(de.ContainerEventType, action, r.ID, a, time.Time{})
}

func (h *hub) volume(action de.Action, name string, more map[string]string) {
	a := map[string]string{"driver": "local"}
	maps.Copy(a, more)
	h.publish(de.VolumeEventType, action, name, a, time.Time{})
}

// imageEvent publishes an event of an image, with its labels while it is here.
func (s *Server) imageEvent(action de.Action, id, name string) {
	a := map[string]string{}
	if img, err := s.e.Images.Get(id); err == nil {
		maps.Copy(a, img.Config.Config.Labels)
	}
	a["name"] = name
	s.hub.publish(de.ImageEventType, action, id, a, time.Time{})
}

// supervise turns the engine's events into Docker's, and acts on ends.
func (s *Server) supervise(sub *events.Subscription) {
	defer sub.Close()
	for _, r := range s.e.Containers.List() {
		s.hub.attrs[r.ID] = attributes(r)
	}
	s.hub.translated(sub.After())
	for {
		batch, err := sub.Next(s.life)
		for _, e := range batch {
			if e.Kind == events.Container {
				s.translate(e)
			}
			s.hub.translated(e.Seq)
		}
		if err != nil {
			if s.life.Err() != nil || err == events.ErrClosed {
				return
			}
			sub.Close()
			sub = s.e.Events.Subscribe()
			s.hub.translated(sub.After())
			s.ended.Go(s.recover) // what was missed is in the records
		}
	}
}

// translate publishes one event. Only supervise's goroutine calls it; hub.attrs is its own.
func (s *Server) translate(e events.Event) {
	r, err := s.e.Containers.Get(e.ID)
	if err == nil {
		s.hub.attrs[e.ID] = attributes(r)
	}
	a := maps.Clone(s.hub.attrs[e.ID])
	if a == nil {
		a = map[string]string{}
	}
	maps.Copy(a, e.Attrs)
	action := de.Action(e.Action)
	switch e.Action {
	case events.Die:
		a["exitCode"] = strconv.Itoa(e.ExitCode)
		if r != nil {
			a["execDuration"] = strconv.Itoa(int(r.Finished.Sub(r.Started).Seconds()))
		}
	case events.ExecDie:
		a["exitCode"] = strconv.Itoa(e.ExitCode)
	case events.Destroy:
		delete(s.hub.attrs, e.ID)
	}
	s.hub.publish(de.ContainerEventType, action, e.ID, a, e.Time)
	if e.Action == events.Die {
		s.ended.Go(func() { s.died(e.ID) })
	}
}

// getEvents answers GET /events.
func (s *Server) getEvents(c *call) error {
	f, err := parseFilters(c.get("filters"), "config", "container", "daemon", "event", "image", "label", "label!", "network", "node", "plugin", "scope", "secret", "service", "type", "volume")
	if err != nil {
		return err
	}
	since, err := parseTime(c.get("since"))
	if err != nil {
		return badRequest("invalid value for 'since': %v", err)
	}
	until, err := parseTime(c.get("until"))
	if err != nil {
		return badRequest("invalid value for 'until': %v", err)
	}
	ctx := c.ctx()
	if !until.IsZero() {
		if since.After(until) {
			return badRequest("`since` time (%s) cannot be after `until` time (%s)", c.get("since"), c.get("until"))
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, until)
		defer cancel()
	}
	s.hub.await(s.e.Events.Last(), s.life.Done()) // what a caller was told is done is among the past
	sub, past := s.hub.subscribe(since, !until.IsZero())
	defer s.hub.unsubscribe(sub)
	kind, head := eventForm(c.Header.Values("Accept"), c.atLeast("1.52"))
	c.w.Header().Set("Content-Type", kind)
	c.w.WriteHeader(http.StatusOK)
	out := http.NewResponseController(c.w)
	_ = out.Flush()
	enc := json.NewEncoder(c.w)
	send := func(m de.Message) error {
		if !f.event(m) || !until.IsZero() && m.TimeNano > until.UnixNano() {
			return nil
		}
		if _, err := io.WriteString(c.w, head); err != nil {
			return err
		}
		if c.atLeast("1.52") {
			return enc.Encode(m)
		}
		return enc.Encode(legacyEvent(m))
	}
	for _, m := range past {
		if err := send(m); err != nil {
			return nil
		}
	}
	_ = out.Flush()
	for {
		select {
		case m, ok := <-sub.ch:
			if !ok || send(m) != nil || out.Flush() != nil {
				return nil
			}
		case <-ctx.Done():
			if c.ctx().Err() == nil {
				s.hub.await(s.e.Events.Last(), s.life.Done())
				for m := range sub.waiting() {
					if send(m) != nil {
						return nil
					}
				}
			}
			return nil
		case <-s.life.Done():
			return nil
		}
	}
}

// eventForm chooses the form of a stream of events, and what comes before each: RFC 7464 has a record separator there.
func eventForm(accept []string, negotiates bool) (kind, head string) {
	for _, a := range strings.Split(strings.Join(accept, ","), ",") {
		kind, _, _ = strings.Cut(strings.TrimSpace(a), ";")
		switch {
		case !negotiates:
		case kind == "application/json-seq":
			return kind, "\x1e"
		case kind == "application/x-ndjson", kind == "application/jsonl":
			return kind, ""
		}
	}
	return "application/json", ""
}

// legacyEvent adds the fields that clients before 1.52 read.
func legacyEvent(m de.Message) any {
	type old struct {
		Status string `json:"status,omitempty"`
		ID     string `json:"id,omitempty"`
		From   string `json:"from,omitempty"`
		de.Message
	}
	o := old{Message: m}
	if m.Type == de.ContainerEventType || m.Type == de.ImageEventType {
		o.Status, o.ID, o.From = string(m.Action), m.Actor.ID, m.Actor.Attributes["image"]
	}
	return o
}

// event reports whether a message passes.
func (f filters) event(m de.Message) bool {
	named := func(kind de.Type) bool {
		return len(f[string(kind)]) == 0 || m.Type == kind && f.any(string(kind), func(v string) bool {
			name := m.Actor.Attributes["name"]
			return v == m.Actor.ID || v == name || kind == de.ContainerEventType && strings.HasPrefix(m.Actor.ID, v) ||
				kind == de.ImageEventType && (strings.HasPrefix(name, v+":") || strings.HasPrefix(m.Actor.Attributes["image"], v))
		})
	}
	image := named(de.ImageEventType) || m.Type == de.ContainerEventType && f.any("image", func(v string) bool {
		have := m.Actor.Attributes["image"]
		return have == v || strings.HasPrefix(have, v+":")
	})
	return f.any("event", func(v string) bool {
		return v == string(m.Action) || strings.HasPrefix(string(m.Action), v+":")
	}) && f.exact("type", string(m.Type)) && f.exact("scope", m.Scope) && f.labels(m.Actor.Attributes) &&
		named(de.ContainerEventType) && named(de.VolumeEventType) && named(de.NetworkEventType) && named(de.DaemonEventType) && image
}
