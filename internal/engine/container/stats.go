package container

import (
	"context"
	"fmt"
	"time"

	"nau/internal/engine/layer"
	"nau/internal/oci/monitor"
)

// Stats are a container's figures at a moment.
type Stats struct {
	Time  time.Time
	Run   *monitor.Stats // nil when it does not run
	Layer layer.Usage
}

// Stats reads a container's figures.
func (m *Manager) Stats(ctx context.Context, id string) (Stats, error) {
	r, err := m.Get(id)
	if err != nil {
		return Stats{}, err
	}
	s := Stats{Time: time.Now()}
	if r.State == Running || r.State == Paused {
		st, err := m.set.Runtime.Stats(ctx, id)
		if err != nil {
			return s, fmt.Errorf("read figures of container %s: %w", id[:12], err)
		}
		s.Run = &st
	}
	if s.Layer, err = m.set.Layers.Usage(ctx, id); err != nil {
		return s, fmt.Errorf("read disk use of container %s: %w", id[:12], err)
	}
	return s, nil
}

// ReopenLog makes the monitor write to a new file at the log's path, after a rotation from outside.
func (m *Manager) ReopenLog(ctx context.Context, id string) error {
	r, err := m.Get(id)
	if err != nil {
		return err
	}
	if r.State != Running && r.State != Paused {
		return fmt.Errorf("reopen log of container %s: it is %s: %w", id[:12], r.State, ErrState)
	}
	return m.set.Runtime.ReopenLog(ctx, id)
}
