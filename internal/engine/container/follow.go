package container

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"nau/internal/engine/events"
	"nau/internal/engine/layer"
	"nau/internal/engine/record"
	"nau/internal/engine/sandbox"
	"nau/internal/oci/monitor"
)

// cursor remembers, in the run directory, how far the monitor's journal was read: it lives as long as the journal does.
type cursor struct{ f *os.File }

func openCursor(path string) (*cursor, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	return &cursor{f}, nil
}

func (c *cursor) get() uint64 {
	var b [8]byte
	if n, _ := c.f.ReadAt(b[:], 0); n != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b[:])
}

func (c *cursor) set(n uint64) {
	_, _ = c.f.WriteAt(binary.BigEndian.AppendUint64(nil, n), 0)
}

// Open loads the records, brings them in line with the monitor's truth, cleans what nobody knows, and follows the monitor's events until
// Close. keep says which unknown names in the monitor are somebody else's.
func Open(ctx context.Context, s Settings, keep func(id string) bool) (*Manager, error) {
	dir, err := record.Open[Record](s.Dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(s.RunDir, 0o711); err != nil {
		return nil, err
	}
	m := &Manager{set: s, records: dir, images: map[string]int{}, marks: map[string]string{}}
	recs, damaged, err := dir.All()
	if err != nil {
		return nil, err
	}
	for _, id := range damaged {
		s.Log.Warn("drop damaged container record", "container", id)
	}
	for id, r := range recs {
		e := &entry{rec: r}
		if r.State == Running || r.State == Paused {
			e.gone = make(chan struct{})
		}
		m.index.Put(id, e)
		m.index.Reserve(r.Config.Name, id)
		m.count(r, 1)
	}
	if m.seq, err = openCursor(filepath.Join(s.RunDir, "seq")); err != nil {
		return nil, err
	}
	if err := m.reconcile(ctx, keep); err != nil {
		return nil, err
	}
	if err := m.sweep(); err != nil {
		return nil, err
	}
	follow, stop := context.WithCancel(context.WithoutCancel(ctx))
	m.stop = stop
	m.done.Add(1)
	go func() {
		defer m.done.Done()
		m.follow(follow, keep)
	}()
	return m, nil
}

// Close stops following; containers run on.
func (m *Manager) Close() {
	m.stop()
	m.done.Wait()
	m.mu.RLock()
	for _, e := range m.index.All() {
		if e.op.TryLock() { // an operation that is still under way lets go by itself, or with the program
			e.release()
			e.op.Unlock()
		}
	}
	m.mu.RUnlock()
	m.records.Close()
	_ = m.seq.f.Close()
}

// reconcile asks the monitor what runs, and corrects the records.
func (m *Manager) reconcile(ctx context.Context, keep func(string) bool) error {
	states, err := m.set.Runtime.List(ctx)
	if err != nil {
		return fmt.Errorf("list containers of the monitor: %w", err)
	}
	known := map[string]monitor.State{}
	for _, st := range states {
		known[st.ID] = st
		if _, err := m.entry(st.ID); err == nil || keep(st.ID) {
			continue
		}
		m.set.Log.Info("clean container without a record", "container", st.ID)
		if _, err := m.set.Runtime.Delete(ctx, st.ID, true); err != nil && !errors.Is(err, monitor.ErrNotFound) {
			return fmt.Errorf("clean container %s: %w", st.ID, err)
		}
	}
	m.mu.RLock()
	all := make([]*entry, 0, m.index.Len())
	for _, e := range m.index.All() {
		all = append(all, e)
	}
	m.mu.RUnlock()
	var errs []error
	for _, e := range all {
		r, _ := m.current(e)
		st, ok := known[r.ID]
		if decide(r, st.Status, ok) != fine {
			errs = append(errs, m.settle(ctx, e))
		} else if ok {
			e.op.Lock()
			if now, gone := m.current(e); gone != nil && e.process == nil && now.Pid == st.Pid {
				e.hold(st.Pid)
			}
			e.op.Unlock()
		}
	}
	return errors.Join(errs...)
}

// settle brings one record in line with what the monitor says of it now. It asks while it holds the container's lock: what was listed before may be of
// an earlier run, or from before the present one began.
func (m *Manager) settle(ctx context.Context, e *entry) error {
	e.op.Lock()
	defer e.op.Unlock()
	r, _ := m.current(e)
	st, known, err := m.ask(ctx, r.ID)
	if err != nil {
		return err
	}
	return m.correct(ctx, e, r, st, known)
}

// ask is what the monitor knows of a container.
func (m *Manager) ask(ctx context.Context, id string) (st monitor.State, known bool, err error) {
	st, err = m.set.Runtime.State(ctx, id)
	if errors.Is(err, monitor.ErrNotFound) {
		return st, false, nil
	}
	if err != nil {
		return st, false, fmt.Errorf("ask the monitor about container %s: %w", id[:min(12, len(id))], err)
	}
	return st, true, nil
}

// correct acts on decide. The caller holds e.op.
func (m *Manager) correct(ctx context.Context, e *entry, old *Record, st monitor.State, known bool) error {
	r := *old
	switch v := decide(old, st.Status, known); v {
	case fine:
		return nil
	case adopt:
		r.State, r.Pid, r.Started = Running, st.Pid, st.Started
		e.hold(r.Pid)
		m.mu.Lock()
		e.gone = make(chan struct{})
		m.mu.Unlock()
		return m.put(e, &r)
	case undone:
		return m.forget(ctx, &r)
	case ended:
		r.ExitCode, r.Finished, r.OOMKilled = st.ExitCode, st.Finished, st.OOMKilled
		if !st.Started.IsZero() {
			r.Started = st.Started
		}
	case lost:
		r.ExitCode, r.Finished, r.Lost = UnknownExit, time.Now(), true
	}
	return m.finish(ctx, e, &r)
}

// finish records the end of a run, tells everybody, and gives back what the run held. The caller holds e.op.
func (m *Manager) finish(ctx context.Context, e *entry, r *Record) error {
	if r.ExitCode == UnknownExit {
		if code := e.exitCode(); code != UnknownExit {
			r.ExitCode, r.Lost = code, false
		}
	}
	e.release()
	r.State, r.Pid = Exited, 0
	if r.Finished.IsZero() {
		r.Finished = time.Now()
	}
	if r.Finished.Before(r.Started) {
		r.Finished = r.Started
	}
	err := m.put(e, r)
	m.mu.Lock()
	if e.gone != nil {
		close(e.gone)
		e.gone = nil
	}
	m.mu.Unlock()
	if r.OOMKilled {
		m.publish(r, events.OOM)
	}
	m.publish(r, events.Die)
	return errors.Join(err, m.forget(ctx, r))
}

// forget takes a stopped container off the monitor and unmounts it.
func (m *Manager) forget(ctx context.Context, r *Record) error {
	switch _, err := m.set.Runtime.Delete(ctx, r.ID, true); {
	case errors.Is(err, monitor.ErrNotFound):
		// A monitor that died with what it knew left the cgroup.
		if err := sandbox.ClearCgroup(r.Cgroup); err != nil {
			m.set.Log.Warn("remove cgroup", "container", r.ID, "error", err)
		}
	case err != nil:
		return fmt.Errorf("forget container %s: %w", r.ID[:12], err)
	}
	return m.release(r.ID)
}

// sweep removes bundles and writable layers that belong to no container, and mounts of containers that do not run.
func (m *Manager) sweep() error {
	entries, err := os.ReadDir(m.set.RunDir)
	if err != nil {
		return err
	}
	var errs []error
	for _, d := range entries {
		if !d.IsDir() {
			continue
		}
		if e, err := m.entry(d.Name()); err == nil {
			if r, _ := m.current(e); r.State == Running || r.State == Paused {
				continue
			}
		}
		errs = append(errs, m.release(d.Name()))
	}
	for _, s := range m.set.Layers.Snapshots() {
		if id := s.Labels[snapshotMark]; id != "" {
			if _, err := m.entry(id); err != nil {
				if err := m.set.Layers.Remove(s.Key); err != nil && !errors.Is(err, layer.ErrNotFound) {
					errs = append(errs, err)
				}
			}
		}
	}
	return errors.Join(errs...)
}

// follow reads the monitor's events until ctx ends. When the monitor goes away it is revived and asked anew.
func (m *Manager) follow(ctx context.Context, keep func(string) bool) {
	wait := time.Duration(0)
	for ctx.Err() == nil {
		ch, err := m.set.Runtime.Events(ctx, m.seq.get())
		if err == nil {
			wait = 0
			for ev := range ch {
				if last := m.seq.get(); ev.Seq > last+1 && last > 0 {
					// The journal forgot what was not read in time; the ends among it are found by asking.
					m.set.Log.Warn("events of the monitor were missed", "from", last+1, "to", ev.Seq-1)
					if err := m.reconcile(ctx, keep); err != nil {
						m.set.Log.Error("reconcile with the monitor", "error", err)
					}
				}
				m.seq.set(ev.Seq)
				m.observe(ctx, ev)
			}
			if ctx.Err() != nil {
				return
			}
			m.set.Log.Warn("the monitor went away")
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = min(wait*2+50*time.Millisecond, 5*time.Second)
		if m.set.Revive != nil {
			if err := m.set.Revive(ctx); err != nil {
				m.set.Log.Error("revive monitor", "error", err)
				continue
			}
		}
		if err := m.reconcile(ctx, keep); err != nil {
			m.set.Log.Error("reconcile with the monitor", "error", err)
		}
	}
}

// observe acts on one event. Acting needs the container's lock, so it must not hold up the next event.
func (m *Manager) observe(ctx context.Context, ev monitor.Event) {
	e, err := m.entry(ev.ID)
	if err != nil {
		if m.set.Others != nil {
			m.set.Others(ev)
		}
		return
	}
	switch ev.Type {
	case monitor.EventExited:
		m.done.Add(1)
		go func() {
			defer m.done.Done()
			e.op.Lock()
			defer e.op.Unlock()
			old, gone := m.current(e)
			// Told apart by the process, not the time: a program may have ended before its start was noted.
			if gone == nil || ev.Pid != 0 && ev.Pid != old.Pid {
				return // known already, or of an earlier run
			}
			r := *old
			r.ExitCode, r.OOMKilled, r.Finished = ev.ExitCode, old.OOMKilled || ev.OOMKilled, ev.Time
			if err := m.finish(context.WithoutCancel(ctx), e, &r); err != nil {
				m.set.Log.Error("finish container", "container", r.ID, "error", err)
			}
		}()
	case monitor.EventExecExited:
		m.set.Events.Publish(events.Event{Kind: events.Container, Action: events.ExecDie, ID: ev.ID, ExitCode: ev.ExitCode, Time: ev.Time,
			Attrs: map[string]string{"execID": ev.ExecID}})
	}
}
