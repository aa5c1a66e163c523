package image

import (
	"context"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
)

// Steps are what a build makes on its way and finds again the next time. They are kept as images without names, for what an image needs they need as
// well; but nobody asked for them: no list shows them, no prune of images takes them, and one that is the result of a build too, or got a name, is
// only no image any longer when that is removed. The builder lets them go.

// shown: it is an image that somebody asked for.
func (h *held) shown() bool { return !h.rec.Step || h.rec.Wanted }

// unwanted is what stays of an image that is removed: nothing, or the step that it was as well.
func (h *held) unwanted() *imageRecord {
	if !h.rec.Step || !h.rec.Wanted {
		return nil
	}
	rec := h.rec
	rec.Wanted, rec.Parent = false, ""
	return &rec
}

// Want makes an image of what may be only a step.
func (s *Store) Want(id digest.Digest) (*Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h, ok := s.images[id]
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, id)
	}
	if !h.shown() {
		rec := h.rec
		rec.Wanted = true
		if err := s.apply(change{images: map[digest.Digest]*imageRecord{id: &rec}}, nil); err != nil {
			return nil, fmt.Errorf("keep image %s: %w", id, err)
		}
	}
	return s.view(s.images[id], ""), nil
}

// DropSteps lets those steps go that drop names; one that is an image as well stays that.
func (s *Store) DropSteps(ctx context.Context, drop func(digest.Digest) bool) error {
	if err := s.forgetSteps(drop); err != nil {
		return fmt.Errorf("drop steps of builds: %w", err)
	}
	if _, err := s.collect(); err != nil {
		return fmt.Errorf("drop steps of builds: %w", err)
	}
	return ctx.Err()
}

func (s *Store) forgetSteps(drop func(digest.Digest) bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := change{images: map[digest.Digest]*imageRecord{}}
	for id, h := range s.images {
		if !h.rec.Step || !drop(id) {
			continue
		}
		c.images[id] = nil
		if users, _ := s.users(id); h.rec.Wanted || len(users) > 0 || s.children(id) {
			rec := h.rec
			rec.Step, rec.Wanted = false, false
			c.images[id] = &rec
		}
	}
	if len(c.images) == 0 {
		return nil
	}
	return s.apply(c, nil)
}

// onlySteps are the blobs and unpacked layers that no image has, but a step.
func (s *Store) onlySteps() map[digest.Digest]bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := map[digest.Digest]bool{}
	for _, h := range s.images {
		for _, d := range slices.Concat(h.rec.DiffIDs, h.blobs()) {
			only, other := out[d]
			out[d] = !h.shown() && (only || !other)
		}
	}
	return out
}
