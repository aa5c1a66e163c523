package registry

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"

	"nau/internal/engine/content"
	"nau/internal/engine/image/remote"
)

// Collect frees what no manifest needs: links to blobs older than the grace time, uploads that nobody continues, then the blobs themselves. It tells
// the bytes freed. Manifests stay until they are deleted, tagged or not.
func (g *Registry) Collect(ctx context.Context) (int64, error) {
	before := g.cfg.Now().Add(-g.cfg.Grace)
	var dirs []string
	err := filepath.WalkDir(g.dir, func(p string, e os.DirEntry, err error) error {
		if err == nil && e.IsDir() && (e.Name() == "_blobs" || e.Name() == "_uploads") {
			dirs = append(dirs, p)
			return filepath.SkipDir
		}
		if os.IsNotExist(err) {
			return nil
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	for _, d := range dirs {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		name, err := filepath.Rel(g.dir, filepath.Dir(d))
		if err != nil {
			return 0, err
		}
		repo := g.repository(filepath.ToSlash(name))
		if filepath.Base(d) == "_uploads" {
			if err := g.dropUploads(repo, before); err != nil {
				return 0, err
			}
			continue
		}
		needed, err := g.needed(repo)
		if err != nil {
			return 0, err
		}
		links, err := os.ReadDir(d)
		if err != nil {
			return 0, err
		}
		for _, l := range links {
			b, ok := content.PinDigest(l.Name())
			st, err := l.Info()
			if !ok || err != nil || needed[b] || st.ModTime().After(before) {
				continue
			}
			if err := repo.drop("_blobs", l.Name()); err != nil {
				return 0, err
			}
		}
	}
	return g.cfg.Content.Collect()
}

// CollectEvery collects at an interval until ctx ends. Uploads go on meanwhile: what they hold is not touched.
func (g *Registry) CollectEvery(ctx context.Context, interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		switch freed, err := g.Collect(ctx); {
		case err != nil:
			g.log.Error("collect garbage", "error", err)
		case freed > 0:
			g.log.Info("collected garbage", "bytes", freed)
		}
	}
}

// needed marks the blobs that a repository's manifests name.
func (g *Registry) needed(repo repository) (map[digest.Digest]bool, error) {
	all := map[digest.Digest]bool{}
	names, err := repo.list("_manifests", "")
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		d, ok := content.PinDigest(n)
		if !ok {
			continue
		}
		b, err := g.cfg.Content.ReadAll(d, remote.MaxManifest)
		if errors.Is(err, content.ErrNotFound) {
			continue // lost with a power failure: nothing can be read through it any more
		}
		if err != nil {
			return nil, err
		}
		var m manifestParts
		if err := json.Unmarshal(b, &m); err != nil {
			return nil, err
		}
		for _, x := range m.blobs() {
			all[x.Digest] = true
		}
	}
	return all, nil
}
