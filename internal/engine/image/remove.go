package image

import (
	"context"
	"fmt"
	"slices"
	"sort"

	"github.com/opencontainers/go-digest"
)

// Remove follows docker's reference rules: a name is untagged, and with the last name the image goes, for all its platforms; an ID with names in one
// repository only takes them all with it, one with names in several needs force. ErrInUse if a container uses what would be deleted, ErrParent if images made here stand
// on what an ID names; by a name such an image only loses it.
func (s *Store) Remove(ctx context.Context, refOrID string, opts RemoveOptions) ([]Removed, error) {
	removed, err := s.unlink(refOrID, opts)
	if err != nil {
		return nil, fmt.Errorf("remove image %s: %w", refOrID, err)
	}
	if _, err := s.collect(); err != nil {
		return removed, fmt.Errorf("remove image %s: %w", refOrID, err)
	}
	return removed, nil
}

func (s *Store) unlink(refOrID string, opts RemoveOptions) ([]Removed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h, name, err := s.find(refOrID)
	if err != nil {
		return nil, err
	}
	var p removal
	if len(opts.Platforms) > 0 {
		p, err = s.removePlatforms(h, name, opts)
	} else {
		p, err = s.removeAll(h, name, opts)
	}
	if err != nil {
		return nil, err
	}
	c := change{names: map[string]*nameRecord{}, images: map[digest.Digest]*imageRecord{}}
	var out []Removed
	for _, n := range p.names {
		c.names[n] = nil
		out = append(out, Removed{ID: h.rec.ID, Untagged: familiar(n)})
	}
	for _, g := range p.images {
		c.images[g.rec.ID] = g.unwanted()
		if len(opts.Platforms) > 0 {
			out = append(out, Removed{ID: h.rec.ID, Deleted: g.desc.Digest.String()})
			continue
		}
		out = append(out, s.deletedLines(g.held, c)...)
		if !opts.NoPrune {
			out = append(out, s.untaggedParents(g.held, c)...)
		}
	}
	if err := s.apply(c, nil); err != nil {
		return nil, err
	}
	return out, nil
}

// removal is what goes.
type removal struct {
	names  []string
	images []member
}

// removeAll lets names go, and the images of all platforms that only they keep. The lock is held.
func (s *Store) removeAll(h *held, name string, opts RemoveOptions) (p removal, err error) {
	id := h.rec.ID
	var tags, digests []string
	hidden := name == "" // the ID of a platform that is shown under another's: it goes alone
	for _, n := range s.namesOf(id) {
		hidden = hidden && s.names[n].ID != id
	}
	if hidden = hidden && s.leads()[id] != id; !hidden {
		for n, r := range s.names {
			switch {
			case r.ID != id:
			case isDigestName(n):
				digests = append(digests, n)
			default:
				tags = append(tags, n)
			}
		}
	}
	sort.Strings(tags)
	sort.Strings(digests)
	if p.names, err = decideRemoval(name, id, tags, digests, opts.Force); err != nil {
		return p, err
	}
	freed := []*held{h}
	if !hidden {
		freed = s.freed(h, p.names)
	}
	for _, g := range freed {
		id := g.rec.ID
		children := s.children(id)
		switch users, running := s.users(id); {
		case name == "" && children && !opts.Orphan:
			return p, fmt.Errorf("%w: %s", ErrParent, shortID(id))
		case name == "" && len(users) > 0 && (running || !opts.Force), name != "" && len(users) > 0 && !opts.Force:
			return p, &InUseError{id, users, running}
		case name != "" && (children || running): // the names go, the image stays for those who need it
			continue
		}
		p.images = append(p.images, member{held: g})
	}
	return p, nil
}

// freed lists the images that nothing keeps once names are gone: the one that was found and those of other platforms beside it, that one
// first. The lock is held.
func (s *Store) freed(h *held, gone []string) (out []*held) {
	going := map[string]bool{}
	candidates := []*held{h}
	add := func(members []member) {
		for _, m := range members {
			if !slices.Contains(candidates, m.held) {
				candidates = append(candidates, m.held)
			}
		}
	}
	for _, n := range gone {
		going[n] = true
		add(s.tree(s.names[n].Target).members(s.images))
	}
	if len(gone) == 0 {
		target := s.targetOf(h, "")
		add(s.nameless(s.tree(target), target))
	}
	for _, c := range candidates {
		kept := false
		for n, r := range s.names {
			kept = kept || !going[n] && s.holds(r, c.rec.ID)
		}
		if !kept {
			out = append(out, c)
		}
	}
	return out
}

// removePlatforms lets the images of some platforms go, whatever names stand for them; with the last one its names go too. The lock is held.
func (s *Store) removePlatforms(h *held, name string, opts RemoveOptions) (p removal, err error) {
	going := map[digest.Digest]bool{}
	for _, want := range opts.Platforms {
		m, ok := s.on(h, name, want)
		if !ok {
			return p, &NoPlatformError{want}
		}
		if going[m.rec.ID] {
			continue
		}
		if users, running := s.users(m.rec.ID); len(users) > 0 {
			return p, &InUseError{m.rec.ID, users, running}
		}
		if s.children(m.rec.ID) {
			return p, fmt.Errorf("%w: %s", ErrParent, shortID(m.rec.ID))
		}
		going[m.rec.ID] = true
		p.images = append(p.images, m)
	}
	for n, r := range s.names {
		left := !going[r.ID]
		for _, m := range s.tree(r.Target).members(s.images) {
			left = left || !going[m.rec.ID]
		}
		if !left {
			p.names = append(p.names, n)
		}
	}
	sort.Strings(p.names)
	return p, nil
}

func (s *Store) users(id digest.Digest) ([]string, bool) {
	if s.cfg.InUse == nil {
		return nil, false
	}
	return s.cfg.InUse(id)
}

// decideRemoval says which names go. All of them gone means that the image goes.
func decideRemoval(name string, id digest.Digest, tags, digests []string, force bool) ([]string, error) {
	all := append(append([]string{}, tags...), digests...)
	if name == "" { // by ID
		repos := map[string]struct{}{}
		for _, n := range all {
			repos[repoOf(n)] = struct{}{}
		}
		if (len(repos) > 1 || len(tags) > 1) && !force {
			return nil, fmt.Errorf("%w: %s is referenced in multiple repositories or by several tags", ErrConflict, shortID(id))
		}
		return all, nil
	}
	gone := []string{name}
	// With the last tag of a repository its digests go too, and a digest alone keeps nothing but itself.
	repo := repoOf(name)
	lastTag := true
	for _, t := range tags {
		if t != name && repoOf(t) == repo {
			lastTag = false
		}
	}
	if lastTag {
		for _, d := range digests {
			if d != name && repoOf(d) == repo {
				gone = append(gone, d)
			}
		}
	}
	return gone, nil
}

// children reports whether an image was made here from this one. The lock is held.
func (s *Store) children(id digest.Digest) bool {
	for _, o := range s.images {
		if o.rec.Parent == id {
			return true
		}
	}
	return false
}

// deletedLines is docker's list: the image, then its chain of layers from the top, as far as no other image has them that stays. The lock
// is held.
func (s *Store) deletedLines(h *held, c change) []Removed {
	out := []Removed{{ID: h.rec.ID, Deleted: h.rec.ID.String()}}
	if c.images[h.rec.ID] != nil { // it stays as a step, with its layers
		return out
	}
	shared := map[digest.Digest]struct{}{}
	for id, o := range s.images {
		if _, going := c.images[id]; going || id == h.rec.ID {
			continue
		}
		for _, link := range chainIDs(o.rec.DiffIDs) {
			shared[link] = struct{}{}
		}
	}
	chain := chainIDs(h.rec.DiffIDs)
	for i := len(chain) - 1; i >= 0; i-- {
		if _, ok := shared[chain[i]]; ok {
			break
		}
		out = append(out, Removed{ID: h.rec.ID, Deleted: chain[i].String()})
	}
	return out
}

// untaggedParents deletes the nameless images that this one was made from, as far as nothing else needs them. The lock is held.
func (s *Store) untaggedParents(h *held, c change) (out []Removed) {
	for p := h.rec.Parent; p != ""; {
		ph, ok := s.images[p]
		if !ok {
			return out
		}
		for n, r := range s.names {
			if _, going := c.names[n]; s.holds(r, p) && !going {
				return out
			}
		}
		for id, o := range s.images {
			if _, going := c.images[id]; o.rec.Parent == p && !going {
				return out
			}
		}
		if users, _ := s.users(p); len(users) > 0 {
			return out
		}
		c.images[p] = nil
		out = append(out, s.deletedLines(ph, c)...)
		p = ph.rec.Parent
	}
	return out
}
