package build

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"nau/internal/engine/diskuse"
)

// CacheMount is one folder of RUN --mount=type=cache.
type CacheMount struct {
	Name  string
	Bytes int64 // of disk
	InUse bool
	At    time.Time // when something in it changed last
}

// CacheMounts lists the folders that RUN steps share between builds. Cached layers are images' and are accounted for there.
func (b *Builder) CacheMounts(ctx context.Context) ([]CacheMount, error) {
	list, err := os.ReadDir(b.mounts.dir)
	if err != nil {
		return nil, fmt.Errorf("list cache mounts: %w", err)
	}
	var out []CacheMount
	for _, e := range list {
		b.mounts.mu.Lock()
		m := CacheMount{Name: e.Name(), InUse: b.mounts.busy[e.Name()] != nil}
		b.mounts.mu.Unlock()
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if m.Bytes, _, err = diskuse.Of(filepath.Join(b.mounts.dir, e.Name())); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				continue // pruned meanwhile
			}
			return nil, fmt.Errorf("list cache mounts: %w", err)
		}
		if info, err := e.Info(); err == nil {
			m.At = info.ModTime()
		}
		out = append(out, m)
	}
	return out, nil
}

// remove deletes a folder that nobody uses. Taking one waits meanwhile; what lies in it is unlinked, never followed.
func (c *cacheMounts) remove(name string) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy[name] != nil {
		return false, nil
	}
	return true, os.RemoveAll(filepath.Join(c.dir, name))
}
