package build

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"nau/internal/engine/diskuse"
	"nau/internal/engine/image"
)

// Kinds of what the builder keeps, by BuildKit's names.
const (
	KindLayer = "regular"
	KindMount = "exec.cachemount"
)

// Usage is one thing that the builder keeps.
type Usage struct {
	ID      string
	Kind    string
	Text    string // of the instruction; the mount's name
	Size    int64  // on disk, unpacked
	Created time.Time
	Used    time.Time // last
	InUse   bool      // by a build that runs
	Shared  bool      // a named image has the layer too: removing the record frees no disk

	image digest.Digest
}

// Usage lists cached layers and cache mounts, the oldest use first.
func (b *Builder) Usage(ctx context.Context) ([]Usage, error) {
	out, err := b.layers()
	if err != nil {
		return nil, fmt.Errorf("list cached layers: %w", err)
	}
	mounts, err := b.CacheMounts(ctx)
	if err != nil {
		return nil, err
	}
	for _, m := range mounts {
		out = append(out, Usage{ID: m.Name, Kind: KindMount, Text: "cache mount", Size: m.Bytes, Created: m.At, Used: m.At, InUse: m.InUse})
	}
	slices.SortStableFunc(out, func(a, b Usage) int { return a.Used.Compare(b.Used) })
	return out, nil
}

func (b *Builder) layers() (out []Usage, err error) {
	named := map[digest.Digest]bool{}
	for _, img := range b.cfg.Images.List() {
		if len(img.RepoTags)+len(img.RepoDigests) > 0 {
			for _, d := range img.DiffIDs {
				named[d] = true
			}
		}
	}
	list, err := os.ReadDir(b.cache.dir)
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		path := filepath.Join(b.cache.dir, e.Name())
		var rec cached
		data, err := os.ReadFile(path)
		if err != nil || json.Unmarshal(data, &rec) != nil || rec.Layer.DiffID == "" || strings.HasSuffix(e.Name(), unwritten) {
			continue // gone meanwhile, or about a result without a layer of its own
		}
		u := Usage{ID: e.Name(), Kind: KindLayer, Text: rec.Text, Created: rec.Created, Used: rec.Created, Shared: named[rec.Layer.DiffID], image: rec.Image}
		if info, ok := b.cfg.Layers.Has(rec.Layer.DiffID); ok {
			u.Size = info.Size
		}
		if st, err := e.Info(); err == nil {
			u.Used = st.ModTime()
		}
		out = append(out, u)
	}
	return out, nil
}

// PruneOptions say what goes. Zero values are no bounds.
type PruneOptions struct {
	All      bool             // what named images share too
	Keep     func(Usage) bool // true = it stays; nil = nothing stays
	MinAge   time.Duration    // since its last use
	Reserved int64            // bytes that may stay, the most recently used first
	Max      int64            // bytes to get below
	MinFree  int64            // bytes of the disk that are to be free afterwards
	Free     int64            // that are free now; Prune finds out
}

// bound is how many bytes may stay, -1 = any number must go that can.
func (o *PruneOptions) bound(total int64) int64 {
	if o.Reserved == 0 && o.Max == 0 && o.MinFree == 0 {
		return -1
	}
	limit := o.Reserved
	if o.Max > 0 || o.MinFree > 0 {
		limit = total
		if o.Max > 0 {
			limit = min(limit, o.Max)
		}
		if o.MinFree > 0 {
			limit = min(limit, total+o.Free-o.MinFree)
		}
		limit = max(limit, o.Reserved)
	}
	return max(limit, 0)
}

// choose decides what goes of a list that begins with the oldest use.
func choose(list []Usage, o PruneOptions, now time.Time) (out []Usage) {
	var total int64
	for _, u := range list {
		if !u.Shared || o.All {
			total += u.Size
		}
	}
	limit := o.bound(total)
	for _, u := range list {
		if u.InUse || u.Shared && !o.All || o.Keep != nil && o.Keep(u) || o.MinAge > 0 && now.Sub(u.Used) < o.MinAge {
			continue
		}
		if limit >= 0 && total <= limit {
			break
		}
		total -= u.Size
		out = append(out, u)
	}
	return out
}

// Prune removes cached layers and cache mounts; layers of images stay with them.
func (b *Builder) Prune(ctx context.Context, o PruneOptions) ([]Usage, error) {
	removed, err := b.prune(ctx, o, nil)
	if err != nil {
		return removed, err
	}
	return removed, b.cache.sweep()
}

// prune is Prune among what is of some kinds; nil = all.
func (b *Builder) prune(ctx context.Context, o PruneOptions, kinds []string) (removed []Usage, err error) {
	list, err := b.Usage(ctx)
	if err != nil {
		return nil, err
	}
	list = of(list, kinds)
	if o.MinFree > 0 {
		if o.Free, err = diskuse.Free(b.cfg.Dir); err != nil {
			return nil, err
		}
	}
	chosen := map[digest.Digest]bool{}
	for _, u := range choose(list, o, time.Now()) {
		if err := ctx.Err(); err != nil {
			return removed, err
		}
		switch u.Kind {
		case KindMount:
			gone, err := b.mounts.remove(u.ID)
			if err != nil {
				return removed, fmt.Errorf("remove cache mount %s: %w", u.ID, err)
			}
			if !gone {
				continue
			}
		case KindLayer:
			if err := os.Remove(filepath.Join(b.cache.dir, u.ID)); err != nil && !os.IsNotExist(err) {
				return removed, fmt.Errorf("remove cache record %s: %w", u.ID, err)
			}
			chosen[u.image] = true
		}
		removed = append(removed, u)
	}
	if len(chosen) > 0 {
		if err := b.cfg.Images.DropSteps(ctx, func(id digest.Digest) bool { return chosen[id] }); err != nil {
			return removed, err
		}
		if _, _, err := b.cfg.Images.Prune(ctx, image.PruneOptions{Keep: func(img *image.Image) bool { return !chosen[img.ID] }}); err != nil {
			return removed, err
		}
	}
	return removed, nil
}

// Freed adds up what a prune gives back to the disk.
func Freed(list []Usage) (n int64) {
	for _, u := range list {
		if !u.Shared {
			n += u.Size
		}
	}
	return n
}
