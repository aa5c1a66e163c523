package image

import (
	"context"
	"fmt"
	"maps"

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
		for _, img := range s.list() {
			h := s.images[img.ID]
			if h == nil || !h.shown() { // it went with another; or it is the builder's
				continue
			}
			c := change{images: map[digest.Digest]*imageRecord{}, names: map[string]*nameRecord{}}
			var names []string
			for n, r := range s.names {
				if r.ID == img.ID {
					names = append(names, n)
				}
			}
			freed := s.freed(h, names)
			if !s.prunable(img, freed, opts) {
				continue
			}
			for _, n := range names {
				c.names[n] = nil
				out = append(out, Removed{ID: img.ID, Untagged: familiar(n)})
			}
			for _, h := range freed {
				c.images[h.rec.ID] = h.unwanted()
				out = append(out, s.deletedLines(h, c)...)
			}
			if err := s.apply(c, nil); err != nil {
				return out, err
			}
			again = true
		}
	}
	return out, nil
}

// groups lists the images that are shown as one, by the ID that is shown, which is the first of them. The lock is held.
func (s *Store) groups() map[digest.Digest][]digest.Digest {
	out := map[digest.Digest][]digest.Digest{}
	lead := s.leads()
	for id, of := range lead {
		if !s.images[of].shown() {
			continue
		}
		if id == of {
			out[of] = append([]digest.Digest{id}, out[of]...)
		} else {
			out[of] = append(out[of], id)
		}
	}
	return out
}

// prunable: no platform of it in use, nobody's parent, nameless unless all are meant. The lock is held.
func (s *Store) prunable(img *Image, freed []*held, opts PruneOptions) bool {
	if !opts.All && len(img.RepoTags)+len(img.RepoDigests) > 0 {
		return false
	}
	for _, h := range freed {
		if users, _ := s.users(h.rec.ID); len(users) > 0 || s.children(h.rec.ID) {
			return false
		}
	}
	return opts.Keep == nil || !opts.Keep(img)
}

// Usage accounts for the bytes of images, those of several platforms that are shown as one as one. A layer that comes twice in one image counts once.
func (s *Store) Usage(ctx context.Context) (DiskUsage, error) {
	var u DiskUsage
	steps := s.onlySteps()
	blobs, unpacked := map[digest.Digest]int64{}, map[digest.Digest]int64{} // their bytes on disk
	err := s.cfg.Content.Walk(func(i content.Info) error {
		if !steps[i.Digest] {
			u.BlobsSize += i.Disk
			blobs[i.Digest] = i.Disk
		}
		return ctx.Err()
	})
	if err != nil {
		return u, fmt.Errorf("measure images: %w", err)
	}
	u.BlobsSize += s.cfg.Content.Ingests()
	for _, l := range s.cfg.Layers.Layers() {
		if !steps[l.DiffID] {
			u.LayersSize += l.Disk
			unpacked[l.DiffID] = l.Disk
		}
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	users := map[digest.Digest]int{}
	groups := s.groups()
	layers := map[digest.Digest]map[digest.Digest]int64{}
	for lead, ids := range groups {
		layers[lead] = map[digest.Digest]int64{}
		for _, id := range ids {
			maps.Copy(layers[lead], layerSizes(s.images[id]))
		}
		for d := range layers[lead] {
			users[d]++
		}
	}
	for lead, ids := range groups {
		i := ImageUsage{ID: lead}
		for _, id := range ids {
			who, _ := s.users(id)
			i.InUse = i.InUse || len(who) > 0
		}
		for d, n := range layers[lead] {
			if users[d] > 1 {
				i.Shared += n
			} else {
				i.Unique += n
			}
		}
		if i.InUse {
			for _, id := range ids {
				for _, d := range s.images[id].blobs() {
					delete(blobs, d)
				}
				for _, d := range s.images[id].rec.DiffIDs {
					delete(unpacked, d)
				}
			}
		}
		u.Images = append(u.Images, i)
	}
	for _, left := range []map[digest.Digest]int64{blobs, unpacked} {
		for _, n := range left {
			u.Reclaimable += n
		}
	}
	return u, nil
}

// blobs are those that an image stands on.
func (h *held) blobs() []digest.Digest {
	return append(digests(h.rec.Layers), h.rec.ID, h.rec.Manifest.Digest, h.rec.Target.Digest)
}

func layerSizes(h *held) map[digest.Digest]int64 {
	m := map[digest.Digest]int64{}
	for i, d := range h.rec.DiffIDs {
		m[d] = h.rec.Sizes[i]
	}
	return m
}
