package image

import (
	"cmp"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"nau/internal/engine/image/remote"
)

// tree is an index that names stand for, read once: what it lists, in its order, the lists of indexes in it among them. Of a platform whose
// content is here there is a record; what has none is not here, whatever blobs of it may lie around still.
type tree struct {
	branches []branch
	inner    []digest.Digest // the indexes in it
}

// branch is one manifest of a tree: of an image, or of what is said about one.
type branch struct {
	desc   ocispec.Descriptor
	config digest.Digest        // of an image whose manifest is here; else ""
	about  digest.Digest        // what is said here is said about this manifest; "" = an image
	parts  []ocispec.Descriptor // blobs of what is said: configuration and statements; nil = not here
}

// size is that of what is said, where it is here.
func (b *branch) size() (n int64) {
	for _, p := range b.parts {
		n += p.Size
	}
	return n + b.desc.Size
}

// Bounds of a tree: how deep indexes may lie in each other, and how many manifests are looked at. An index is somebody else's text, and may name one
// thing, or itself, any number of times.
const (
	maxDepth    = 3
	maxBranches = 10_000
)

// readTree reads an index as far as it is here.
func (s *Store) readTree(index digest.Digest) *tree {
	t := &tree{}
	s.grow(t, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: index}, 0, map[digest.Digest]bool{index: true})
	return t
}

// grow adds what an index lists that the tree has not seen yet.
func (s *Store) grow(t *tree, d ocispec.Descriptor, depth int, seen map[digest.Digest]bool) {
	raw, err := s.cfg.Content.ReadAll(d.Digest, remote.MaxManifest)
	if err != nil {
		return
	}
	x, err := parseManifest(raw, d.MediaType)
	if err != nil || x.index == nil {
		return
	}
	for _, d := range x.index.Manifests {
		if seen[d.Digest] || len(seen) > maxBranches || d.Digest.Validate() != nil {
			continue
		}
		switch {
		case isIndex(d.MediaType) && depth < maxDepth:
			seen[d.Digest] = true
			t.inner = append(t.inner, d.Digest)
			s.grow(t, d, depth+1, seen)
		case isManifest(d.MediaType):
			seen[d.Digest] = true
			t.branches = append(t.branches, s.branch(d))
		}
	}
}

func (s *Store) branch(d ocispec.Descriptor) branch {
	b := branch{desc: d}
	if attestation(d) {
		b.about = cmp.Or(digest.Digest(d.Annotations[annotationDigest]), d.Digest)
	}
	raw, err := s.cfg.Content.ReadAll(d.Digest, remote.MaxManifest)
	if err != nil {
		return b
	}
	m, err := parseBeside(raw, d.MediaType)
	if err != nil || m.manifest == nil {
		return b
	}
	if b.about == "" {
		b.config = m.manifest.Config.Digest
		return b
	}
	b.parts = append([]ocispec.Descriptor{m.manifest.Config}, m.manifest.Layers...)
	for _, p := range b.parts {
		if !s.cfg.Content.Has(p.Digest) {
			b.parts = nil
			break
		}
	}
	return b
}

// branchesOf lists what an index names; nothing for a manifest. The lock is held.
func (s *Store) branchesOf(target ocispec.Descriptor) []branch {
	if t := s.tree(target); t != nil {
		return t.branches
	}
	return nil
}

// markParts marks what a manifest of an index names: the record of its image may have come by another manifest. The lock is held.
func (s *Store) markParts(manifest digest.Digest, mark func(digest.Digest)) {
	raw, err := s.cfg.Content.ReadAll(manifest, remote.MaxManifest)
	if err != nil {
		return
	}
	x, err := parseManifest(raw, ocispec.MediaTypeImageManifest)
	if err != nil || x.manifest == nil {
		return
	}
	for _, l := range x.manifest.Layers {
		mark(l.Digest)
	}
}

// names tells whether an image is one of a tree's. A tree that is nil names none.
func (t *tree) names(config digest.Digest) bool {
	return t != nil && slices.ContainsFunc(t.branches, func(b branch) bool { return b.config == config })
}

// said lists the branches with what is said about a manifest.
func (t *tree) said(about digest.Digest) (out []branch) {
	if t == nil {
		return nil
	}
	for _, b := range t.branches {
		if b.about == about && b.parts != nil {
			out = append(out, b)
		}
	}
	return out
}

// here tells the manifests of images that are here.
func (t *tree) here(images map[digest.Digest]*held) map[digest.Digest]bool {
	out := map[digest.Digest]bool{}
	for _, m := range t.members(images) {
		out[m.desc.Digest] = true
	}
	return out
}

// sizeOfSaid is that of what is said about images that are here.
func (t *tree) sizeOfSaid(images map[digest.Digest]*held) (n int64) {
	for _, m := range t.members(images) {
		for _, b := range t.said(m.desc.Digest) {
			n += b.size()
		}
	}
	return n
}

// member is an image that a tree names and that is here.
type member struct {
	*held
	desc     ocispec.Descriptor // as the index has it
	platform ocispec.Platform
}

// members lists a tree's images that are here, in the tree's order, each once.
func (t *tree) members(images map[digest.Digest]*held) (out []member) {
	if t == nil {
		return nil
	}
	seen := map[digest.Digest]bool{}
	for _, b := range t.branches {
		h := images[b.config]
		if h == nil || seen[b.config] {
			continue
		}
		seen[b.config] = true
		m := member{held: h, desc: b.desc, platform: h.platform()}
		if p := b.desc.Platform; p != nil && p.OS != "" && p.Architecture != "" {
			m.platform = normalise(*p)
		}
		out = append(out, m)
	}
	return out
}

// fitting is the member that suits a platform best; false if none does.
func fitting(members []member, want ocispec.Platform) (best member, ok bool) {
	top := 0
	for _, m := range members {
		if r := rank(want, m.platform); r > top {
			best, top = m, r
		}
	}
	return best, top > 0
}

// leading is the member that a name shows: the host's, else the first that is here.
func leading(members []member, host ocispec.Platform) (member, bool) {
	if m, ok := fitting(members, host); ok || len(members) == 0 {
		return m, ok
	}
	return members[0], true
}

// platform is what an image's configuration says.
func (h *held) platform() ocispec.Platform {
	return normalise(ocispec.Platform{OS: h.config.OS, Architecture: h.config.Architecture, Variant: h.config.Variant, OSVersion: h.config.OSVersion, OSFeatures: h.config.OSFeatures})
}

// tree is that of what names or records point to; nil for a manifest. The lock is held.
func (s *Store) tree(target ocispec.Descriptor) *tree {
	if !isIndex(target.MediaType) {
		return nil
	}
	return s.trees[target.Digest]
}

// holds tells whether a name keeps an image. The lock is held.
func (s *Store) holds(n *nameRecord, id digest.Digest) bool {
	return n.ID == id || len(s.trees) > 0 && s.tree(n.Target).names(id)
}

// namesOf lists those that keep an image. The lock is held.
func (s *Store) namesOf(id digest.Digest) (out []string) {
	for n, r := range s.names {
		if s.holds(r, id) {
			out = append(out, n)
		}
	}
	return out
}

// targetOf is what an image's names point to: that of the name by which it was asked for, else the index of which it is shown, else its own
// manifest. The lock is held.
func (s *Store) targetOf(h *held, name string) ocispec.Descriptor {
	if len(s.trees) == 0 {
		return h.rec.Manifest
	}
	if r := s.names[name]; r != nil && isIndex(r.Target.MediaType) && s.holds(r, h.rec.ID) {
		return r.Target
	}
	if name != "" {
		return h.rec.Manifest
	}
	best := ""
	for n, r := range s.names {
		if r.ID == h.rec.ID && isIndex(r.Target.MediaType) && (best == "" || betterName(n, best)) {
			best = n
		}
	}
	if best != "" {
		return s.names[best].Target
	}
	if t := s.tree(h.rec.Target); t.names(h.rec.ID) && len(s.namesOf(h.rec.ID)) == 0 {
		if m, ok := leading(s.nameless(t, h.rec.Target), *s.cfg.Platform); ok && m.rec.ID == h.rec.ID {
			return h.rec.Target
		}
	}
	return h.rec.Manifest
}

// betterName prefers tags to digests, then what sorts first.
func betterName(a, b string) bool {
	if isDigestName(a) != isDigestName(b) {
		return isDigestName(b)
	}
	return a < b
}

// nameless lists a tree's members that came by it last and have no name any more. The lock is held.
func (s *Store) nameless(t *tree, target ocispec.Descriptor) (out []member) {
	for _, m := range t.members(s.images) {
		if m.rec.Target.Digest == target.Digest && len(s.namesOf(m.rec.ID)) == 0 {
			out = append(out, m)
		}
	}
	return out
}

// leads tells for each image under which it is shown: images of several platforms that a name stands for are shown as one, and stay so
// without a name. The lock is held.
func (s *Store) leads() map[digest.Digest]digest.Digest {
	lead := make(map[digest.Digest]digest.Digest, len(s.images))
	var several []string // the names that stand for an index
	for n, r := range s.names {
		lead[r.ID] = r.ID
		if s.tree(r.Target) != nil {
			several = append(several, n)
		}
	}
	slices.SortFunc(several, func(a, b string) int {
		if betterName(a, b) {
			return -1
		}
		return 1
	})
	for _, n := range several {
		r := s.names[n]
		for _, m := range s.tree(r.Target).members(s.images) {
			if lead[m.rec.ID] == "" {
				lead[m.rec.ID] = r.ID
			}
		}
	}
	loose := map[digest.Digest][]member{} // by the index that they came by
	for id, h := range s.images {
		if lead[id] != "" {
			continue
		}
		lead[id] = id
		t := s.tree(h.rec.Target)
		if t.names(id) && loose[h.rec.Target.Digest] == nil {
			loose[h.rec.Target.Digest] = s.nameless(t, h.rec.Target)
		}
	}
	for _, members := range loose {
		top, _ := leading(members, *s.cfg.Platform)
		for _, m := range members {
			lead[m.rec.ID] = top.rec.ID
		}
	}
	return lead
}

// settle completes a change before it is written: the trees of what it names are read, and each name shows what is best for this host by
// then. A name of which nothing is left goes. The lock is held.
func (s *Store) settle(c change, fresh map[digest.Digest]*held) {
	after := s.images
	if len(c.images) > 0 {
		after = maps.Clone(s.images)
		for id, r := range c.images {
			switch {
			case r == nil:
				delete(after, id)
			case fresh[id] != nil:
				after[id] = fresh[id]
			}
		}
	}
	read := map[digest.Digest]bool{}
	plant := func(d ocispec.Descriptor) {
		if isIndex(d.MediaType) && !read[d.Digest] {
			read[d.Digest] = true
			s.trees[d.Digest] = s.readTree(d.Digest)
		}
	}
	for id := range fresh {
		plant(fresh[id].rec.Target)
	}
	for _, r := range c.names {
		if r != nil {
			plant(r.Target)
		}
	}
	show := func(n string, r *nameRecord) {
		top, ok := leading(s.tree(r.Target).members(after), *s.cfg.Platform)
		switch {
		case ok && top.rec.ID != r.ID:
			c.names[n] = &nameRecord{ID: top.rec.ID, Target: r.Target}
		case !ok && after[r.ID] == nil:
			c.names[n] = nil
		}
	}
	for n, r := range c.names {
		if r != nil {
			show(n, r)
		}
	}
	if len(c.images) == 0 {
		return
	}
	for n, r := range s.names {
		if _, ok := c.names[n]; !ok {
			show(n, r)
		}
	}
}

// pruneTrees forgets the trees that nothing points to. The lock is held.
func (s *Store) pruneTrees() {
	if len(s.trees) == 0 {
		return
	}
	used := map[digest.Digest]bool{}
	for _, r := range s.names {
		used[r.Target.Digest] = true
	}
	for _, h := range s.images {
		used[h.rec.Target.Digest] = true
	}
	maps.DeleteFunc(s.trees, func(d digest.Digest, _ *tree) bool { return !used[d] })
}
