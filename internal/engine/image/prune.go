package image

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"

	"nau/internal/engine/content"
)

// PruneOptions of one prune. Filters beyond these are the caller's: Keep says which images stay.
type PruneOptions struct {
	All  bool              // images without a container, not only nameless ones
	Keep func(*Image) bool // nil = nothing more is kept
}

// Prune removes what nothing uses; the answer tells the bytes that the disk got back.
func (s *Store) Prune(ctx context.Context, opts PruneOptions) ([]Removed, int64, error) {
	removed, err := s.pruneRecords(opts)
	if err != nil {
		return nil, 0, fmt.Errorf("prune images: %w", err)
	}
	freed, err := s.collect()
	if err != nil {
		return removed, freed, fmt.Errorf("prune images: %w", err)
	}
	if opts.All {
		n, err := s.cfg.Content.DropIngests(0)
		freed += n
		if err != nil {
			return removed, freed, fmt.Errorf("prune images: %w", err)
		}
	}
	return removed, freed, nil
}

func (s *Store) pruneRecords(opts PruneOptions) ([]Removed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Removed
	for again := true; again; { // a removed child can make its parent removable
		again = false
		for id, h := range s.images {
			img := s.view(h)
			if !s.prunable(img, opts) {
				continue
			}
			c := change{images: map[digest.Digest]*imageRecord{id: nil}, names: map[string]*nameRecord{}}
			for n, r := range s.names {
				if r.ID == id {
					c.names[n] = nil
					out = append(out, Removed{ID: id, Untagged: familiar(n)})
				}
			}
			out = append(out, s.deletedLines(h, c)...)
			if err := s.apply(c, nil); err != nil {
				return out, err
			}
			again = true
		}
	}
	return out, nil
}

// prunable: not in use, nobody's parent, nameless unless all are meant. The lock is held.
func (s *Store) prunable(img *Image, opts PruneOptions) bool {
	if !opts.All && len(img.RepoTags)+len(img.RepoDigests) > 0 {
		return false
	}
	if users, _ := s.users(img.ID); len(users) > 0 {
		return false
	}
	if s.children(img.ID) {
		return false
	}
	return opts.Keep == nil || !opts.Keep(img)
}

// Usage accounts for the bytes of images. A layer that comes twice in one image counts once.
func (s *Store) Usage(ctx context.Context) (DiskUsage, error) {
	var u DiskUsage
	err := s.cfg.Content.Walk(func(i content.Info) error {
		u.BlobsSize += i.Disk
		return ctx.Err()
	})
	if err != nil {
		return u, fmt.Errorf("measure images: %w", err)
	}
	u.BlobsSize += s.cfg.Content.Ingests()
	for _, l := range s.cfg.Layers.Layers() {
		u.LayersSize += l.Disk
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	users := map[digest.Digest]int{}
	size := map[digest.Digest]int64{}
	for _, h := range s.images {
		for d, n := range layerSizes(h) {
			users[d]++
			size[d] = n
		}
	}
	used := map[digest.Digest]bool{}
	for id, h := range s.images {
		i := ImageUsage{ID: id}
		who, _ := s.users(id)
		i.InUse = len(who) > 0
		for d, n := range layerSizes(h) {
			if users[d] > 1 {
				i.Shared += n
			} else {
				i.Unique += n
			}
			used[d] = used[d] || i.InUse
		}
		u.Images = append(u.Images, i)
	}
	for d, n := range size {
		if !used[d] {
			u.Reclaimable += n
		}
	}
	return u, nil
}

func layerSizes(h *held) map[digest.Digest]int64 {
	m := map[digest.Digest]int64{}
	for i, d := range h.rec.DiffIDs {
		m[d] = h.rec.Sizes[i]
	}
	return m
}
