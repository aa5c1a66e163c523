package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"nau/internal/store/kv"
)

// pump applies etcd's changes until the store closes or etcd fails.
func (s *Store) pump(ctx context.Context) {
	defer s.endWatchers()
	for {
		batch, err := s.stream.Next(ctx)
		switch {
		case err == nil:
			s.apply(batch)
		case ctx.Err() != nil, s.backend.Err() != nil:
			s.stream.Close()
			return
		default:
			s.cfg.Log.Warn("etcd's watch broke; resuming", "error", err)
			if !s.resume(ctx, errors.Is(err, kv.ErrCompacted)) {
				return
			}
		}
	}
}

// apply takes one batch up. Collections first, then the revision, then those who
// wait for it: a reader who sees the revision finds everything below it.
func (s *Store) apply(batch kv.Batch) {
	if len(batch.Changes) > 0 {
		now := s.cfg.Clock.Now()
		s.mu.RLock()
		s.seen.Store(batch.Revision)
		for rest := batch.Changes; len(rest) > 0; {
			n := 1
			if c := s.find(rest[0].Key); c != nil {
				for n < len(rest) && strings.HasPrefix(rest[n].Key, c.cfg.Prefix) {
					n++
				}
				c.apply(rest[:n], now)
			}
			rest = rest[n:]
		}
		s.mu.RUnlock()
	}
	if batch.Revision > s.applied.Load() {
		s.applied.Store(batch.Revision)
		s.waiting.release(batch.Revision)
	}
}

// resume opens the watch anew where it broke. If that history is gone, every
// loaded collection is read anew and its watchers must do the same.
func (s *Store) resume(ctx context.Context, lost bool) bool {
	s.stream.Close()
	for delay := 10 * time.Millisecond; ; delay = min(2*delay, time.Second) {
		err := s.tryResume(ctx, lost)
		if err == nil {
			return true
		}
		lost = lost || errors.Is(err, kv.ErrCompacted)
		s.cfg.Log.Warn("resume etcd's watch", "error", err)
		select {
		case <-ctx.Done():
			return false
		case <-s.backend.Failed():
			return false
		case <-s.cfg.Clock.After(delay):
		}
	}
}

func (s *Store) tryResume(ctx context.Context, lost bool) error {
	since := s.applied.Load()
	if lost {
		rev, err := s.backend.Revision(ctx)
		if err != nil {
			return fmt.Errorf("read etcd's revision: %w", err)
		}
		since = rev
	}
	stream, err := s.backend.Watch(ctx, s.cfg.Prefix, since)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.stream = stream
	collections := append([]*Collection(nil), s.collections...)
	s.seen.Store(since)
	s.mu.Unlock()
	if !lost {
		return nil
	}
	for _, c := range collections {
		if err := c.reload(ctx, since); err != nil {
			stream.Close()
			return err
		}
	}
	s.applied.Store(max(s.applied.Load(), since))
	s.waiting.release(since)
	return nil
}

func (s *Store) endWatchers() {
	s.ended.Store(true)
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, c := range s.collections {
		c.cut(ErrClosed)
	}
}
