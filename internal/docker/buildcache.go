package docker

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	bt "github.com/moby/moby/api/types/build"

	"nau/internal/engine/build"
)

// pruneBuilds answers POST /build/prune.
func (s *Server) pruneBuilds(c *call) error {
	f, err := parseFilters(c.get("filters"), "until", "unused-for", "id", "parent", "type", "description", "inuse", "shared", "private", "label", "label!")
	var moment *badMoment
	if errors.As(err, &moment) {
		return badRequest("failed to prune build cache: \"until\" filter expects a duration (e.g., '24h') or a timestamp: %v", moment)
	}
	if err != nil {
		return badRequest("failed to prune build cache: %v", err)
	}
	o := build.PruneOptions{All: c.flag("all"), Keep: func(u build.Usage) bool { return !fitsCache(f, u) }}
	for name, into := range map[string]*int64{"reserved-space": &o.Reserved, "keep-storage": &o.Reserved, "max-used-space": &o.Max, "min-free-space": &o.MinFree} {
		if v := c.get(name); v != "" {
			if *into, err = strconv.ParseInt(v, 10, 64); err != nil {
				return badRequest("invalid value for %s: %s", name, v)
			}
		}
	}
	for _, name := range []string{"until", "unused-for"} {
		for _, v := range f[name] {
			at, err := parseMoment(v)
			if err != nil {
				return badRequest("failed to prune build cache: %q filter expects a duration (e.g., '24h') or a timestamp: %v", name, err)
			}
			o.MinAge = time.Since(at)
		}
	}
	removed, err := s.builder.Prune(c.ctx(), o)
	if err != nil {
		return err
	}
	out := bt.CachePruneReport{CachesDeleted: []string{}, SpaceReclaimed: uint64(build.Freed(removed))}
	for _, u := range removed {
		out.CachesDeleted = append(out.CachesDeleted, u.ID)
	}
	return c.json(http.StatusOK, out)
}

func fitsCache(f filters, u build.Usage) bool {
	truth := func(name string, have bool) bool {
		want, err := f.boolean(name, have)
		return err == nil && want == have
	}
	none := func(string) bool { return false } // what is cached has no parents and no labels: system prune passes its labels on to the builder, too
	return f.any("label", none) && f.any("id", func(v string) bool { return v == u.ID }) && f.any("type", func(v string) bool { return v == u.Kind }) && f.any("parent", none) &&
		f.any("description", func(v string) bool { return v == u.Text }) && truth("inuse", u.InUse) && truth("shared", u.Shared) && truth("private", !u.Shared)
}

// cacheUsage is the builder's part of GET /system/df.
func (s *Server) cacheUsage(ctx context.Context) (*bt.DiskUsage, error) {
	list, err := s.builder.Usage(ctx)
	if err != nil {
		return nil, err
	}
	out := &bt.DiskUsage{Items: []bt.CacheRecord{}, TotalCount: int64(len(list))}
	for _, u := range slices.Backward(list) {
		used := u.Used
		out.Items = append(out.Items, bt.CacheRecord{ID: u.ID, Type: u.Kind, Description: u.Text, InUse: u.InUse, Shared: u.Shared, Size: u.Size, CreatedAt: u.Created, LastUsedAt: &used, UsageCount: 1})
		if u.InUse {
			out.ActiveCount++
		}
		if u.Shared {
			continue
		}
		out.TotalSize += u.Size
		if !u.InUse {
			out.Reclaimable += u.Size
		}
	}
	return out, nil
}
