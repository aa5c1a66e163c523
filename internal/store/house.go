package store

import (
	"context"
	"errors"
	"runtime/metrics"
	"time"

	"nau/internal/store/kv"
)

const (
	// bookmarkEvery is the pace of bookmarks and of trimming; all watchers share
	// the tick, so that idle wakes up once.
	bookmarkEvery = time.Minute
	// reclaimEvery bounds how often a full database is tidied up out of turn.
	reclaimEvery = 10 * time.Second
	// Memory is given back, out of the garbage collector's turn, after a turn
	// that freed so many bytes, or when so many were allocated since.
	muchFreed     = 8 << 20
	muchAllocated = 96 << 20
)

// keepHouse sends bookmarks, trims histories, and compacts etcd: at each turn to
// where the turn before began, so that history is kept for at least Retain and
// at most twice as long.
func (s *Store) keepHouse(ctx context.Context) {
	tick := s.cfg.Clock.NewTicker(bookmarkEvery)
	defer tick.Stop()
	mark, marked := s.applied.Load(), s.cfg.Clock.Now()
	var compacted int64
	var reclaimed time.Time
	spared := allocated()
	var relief <-chan time.Time // set after heavy writes
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.backend.Failed():
			return
		case <-s.noSpace:
			if now := s.cfg.Clock.Now(); now.Sub(reclaimed) >= reclaimEvery {
				reclaimed = now
				s.tidy(ctx, s.applied.Load())
			}
		case <-s.heavy:
			if relief == nil {
				relief = s.cfg.Clock.After(briefly + time.Second)
			}
		case <-relief:
			relief = nil
			if s.relieve(s.cfg.Clock.Now()) >= muchFreed {
				s.cfg.Spare()
				spared = allocated()
			}
		case <-tick.C():
			now := s.cfg.Clock.Now()
			if freed := s.trim(now); freed >= muchFreed || allocated()-spared >= muchAllocated {
				s.cfg.Spare()
				spared = allocated()
			}
			if s.cfg.Retain < 0 || now.Sub(marked) < s.cfg.Retain {
				continue
			}
			if mark > compacted {
				s.tidy(ctx, mark)
				compacted = mark
			}
			mark, marked = s.applied.Load(), now
		}
	}
}

// allocated is how many bytes this process ever took from its heap.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// trim tells about how many bytes it leaves to the garbage collector.
func (s *Store) trim(now time.Time) (freed int) {
	return s.sum(func(c *Collection) int { return c.trim(now) })
}

// relieve lets go of what heavy writes replaced, once that is old: without it, it would stay until the next write or turn.
func (s *Store) relieve(now time.Time) (freed int) {
	return s.sum(func(c *Collection) int { return c.relieve(now) })
}

func (s *Store) sum(of func(*Collection) int) (total int) {
	s.mu.RLock()
	collections := append([]*Collection(nil), s.collections...)
	s.mu.RUnlock()
	for _, c := range collections {
		total += of(c)
	}
	return total
}

func (s *Store) tidy(ctx context.Context, revision int64) {
	if err := s.Compact(ctx, revision); err != nil && ctx.Err() == nil {
		s.cfg.Log.Error("compact etcd", "revision", revision, "error", err)
		return
	}
	if err := s.backend.Maintain(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, kv.ErrStopped) {
		s.cfg.Log.Error("maintain etcd", "error", err)
	}
}
