package build

import (
	"context"
	"slices"
	"time"

	"nau/internal/engine/diskuse"
)

// CollectEvery is the least time between two collections: a build only asks for one.
const CollectEvery = time.Minute

// Rule is one part of what is collected when builds have ended. Rules apply one after the other.
type Rule struct {
	PruneOptions
	Kinds []string // of what it is about; nil = all
}

// Rules are Docker's by default, of the size of the disk: cache mounts that nobody used for two days, then what nobody used for two months, then the
// least recently used while the cache takes most of the disk or the disk is nearly full; what named images share goes last, since it frees nothing yet.
// Source: docs.docker.com, "Build garbage collection".
func Rules(disk int64) []Rule {
	bounds := PruneOptions{Reserved: disk / 10, Max: disk / 10 * 8, MinFree: disk / 5}
	old, all := bounds, bounds
	old.MinAge, all.All = 60*24*time.Hour, true
	return []Rule{
		{PruneOptions{MinAge: 48 * time.Hour, Max: disk / 70}, []string{KindMount}},
		{old, nil},
		{bounds, nil},
		{all, nil},
	}
}

// Rules are those of this machine.
func (b *Builder) Rules() ([]Rule, error) {
	size, err := diskuse.Size(b.cfg.Dir)
	if err != nil {
		return nil, err
	}
	return Rules(size), nil
}

// Collect applies the rules, unless it did so a moment ago.
func (b *Builder) Collect(ctx context.Context, now time.Time) (removed []Usage, err error) {
	if !b.collecting.TryLock() {
		return nil, nil
	}
	defer b.collecting.Unlock()
	if now.Sub(b.collected) < CollectEvery {
		return nil, nil
	}
	b.collected = now
	rules, err := b.Rules()
	if err != nil {
		return nil, err
	}
	for _, r := range rules {
		gone, err := b.prune(ctx, r.PruneOptions, r.Kinds)
		if removed = append(removed, gone...); err != nil {
			return removed, err
		}
	}
	if len(removed) == 0 {
		return nil, nil
	}
	return removed, b.cache.sweep()
}

// of leaves the kinds that are meant.
func of(list []Usage, kinds []string) []Usage {
	return slices.DeleteFunc(list, func(u Usage) bool { return len(kinds) > 0 && !slices.Contains(kinds, u.Kind) })
}
