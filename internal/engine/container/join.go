package container

import (
	"context"
	"fmt"

	"nau/internal/engine/events"
	"nau/internal/oci/monitor"
)

// Attachment is a place at a container's streams, taken but not used yet.
type Attachment struct {
	m       *Manager
	id      string
	streams Streams
	got     chan joined // one value
}

type joined struct {
	st  *monitor.AttachStreams
	err error
}

// Join takes a place at a container's streams: at once if it runs, else from the first byte of its next run.
func (m *Manager) Join(ctx context.Context, id string, s Streams) (*Attachment, error) {
	e, err := m.turn(id)
	if err != nil {
		return nil, err
	}
	defer e.op.Unlock()
	r, _ := m.current(e)
	a := &Attachment{m: m, id: id, streams: s, got: make(chan joined, 1)}
	if r.State == Running || r.State == Paused {
		st, err := m.set.Runtime.Attach(ctx, id, s.wanted(r))
		if err != nil {
			return nil, fmt.Errorf("attach to container %s: %w", id[:12], err)
		}
		a.got <- joined{st, nil}
		return a, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.waiting == nil {
		m.waiting = map[string][]*Attachment{}
	}
	m.waiting[id] = append(m.waiting[id], a)
	return a, nil
}

// Run waits for the container to start, and copies until the container ends or ctx ends: a process may close its output and read on. It is called once.
func (a *Attachment) Run(ctx context.Context) error {
	select {
	case j := <-a.got:
		if j.err != nil {
			return j.err
		}
		var gone chan struct{}
		if e, err := a.m.entry(a.id); err == nil {
			_, gone = a.m.current(e)
		}
		return a.m.converse(ctx, a.id, j.st, a.streams, gone)
	case <-ctx.Done():
		a.m.leave(a)
		return ctx.Err()
	}
}

// Leave gives a place back that Run was not called for.
func (a *Attachment) Leave() { a.m.leave(a) }

// leave gives the place back.
func (m *Manager) leave(a *Attachment) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rest := m.waiting[a.id][:0:0]
	for _, w := range m.waiting[a.id] {
		if w != a {
			rest = append(rest, w)
		}
	}
	if len(rest) > 0 {
		m.waiting[a.id] = rest
	} else {
		delete(m.waiting, a.id)
	}
	select {
	case j := <-a.got:
		if j.st != nil {
			_ = j.st.Close()
		}
	default:
	}
}

// take empties the list of who waits.
func (m *Manager) take(id string) []*Attachment {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := m.waiting[id]
	delete(m.waiting, id)
	return all
}

// deliver joins who waits, after the container is made and before its program runs.
func (m *Manager) deliver(ctx context.Context, r *Record) {
	for _, a := range m.take(r.ID) {
		st, err := m.set.Runtime.Attach(ctx, r.ID, a.streams.wanted(r))
		a.got <- joined{st, err}
	}
}

// decline tells who waits that there will be no run.
func (m *Manager) decline(id string, err error) {
	for _, a := range m.take(id) {
		a.got <- joined{nil, err}
	}
}

// Resize sets the size of a running container's terminal.
func (m *Manager) Resize(ctx context.Context, id string, s Size) error {
	r, err := m.Get(id)
	if err != nil {
		return err
	}
	if r.State != Running && r.State != Paused {
		return fmt.Errorf("resize terminal of container %s: it is %s: %w", id[:12], r.State, ErrState)
	}
	return m.set.Runtime.Resize(ctx, id, s.Width, s.Height)
}

// Rename gives a container another name. ErrNameTaken.
func (m *Manager) Rename(id, name string) error {
	e, err := m.turn(id)
	if err != nil {
		return err
	}
	defer e.op.Unlock()
	if err := m.reserve(name, id); err != nil {
		return err
	}
	old, _ := m.current(e)
	r := *old
	r.Config.Name = name
	if err := m.commit(e, &r); err != nil {
		m.unreserve(name, id)
		return err
	}
	m.unreserve(old.Config.Name, id)
	m.set.Events.Publish(events.Event{Kind: events.Container, Action: events.Rename, ID: id, Sandbox: r.Config.Sandbox,
		Attrs: map[string]string{"oldName": "/" + old.Config.Name}})
	return nil
}

// Rootfs is where a running container's root file system is mounted.
func (m *Manager) Rootfs(id string) string { return m.rootfs(id) }

// Adopt makes a container that has ended another front's: its definition is replaced, by one with the same ID, and its layer and how it ended stay.
func (m *Manager) Adopt(c Config) (*Record, error) {
	e, err := m.turn(c.ID)
	if err != nil {
		return nil, err
	}
	defer e.op.Unlock()
	old, _ := m.current(e)
	r := *old
	if r.State == Running || r.State == Paused {
		return nil, fmt.Errorf("adopt container %s: it is %s: %w", c.ID[:12], r.State, ErrState)
	}
	img, err := m.inherited(&r)
	if err != nil {
		return nil, fmt.Errorf("adopt container %s: %w", c.ID[:12], err)
	}
	r.Config = c
	r.Config.Ephemeral = old.Config.Ephemeral // what its layer was made for
	if err := m.check(&r, img); err != nil {
		return nil, fmt.Errorf("adopt container %s: %w", c.ID[:12], err)
	}
	if err := m.reserve(c.Name, r.ID); err != nil {
		return nil, err
	}
	if err := m.commit(e, &r); err != nil {
		m.unreserve(c.Name, r.ID)
		return nil, err
	}
	m.unreserve(old.Config.Name, r.ID)
	m.publish(&r, events.Create)
	return &r, nil
}
