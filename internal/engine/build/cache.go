package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"nau/internal/engine/image"
)

// cache finds layers by what they were made of. A record is a file, named by its key, beside an image without a name that holds the layer:
//
//	<dir>/<key>   JSON of cached
//
// That image is a step (see engine/image): it is no image to anybody else. When it goes, the record means nothing and goes at the next look or start. A changed format changes keyVersion.
type cache struct {
	dir    string
	images *image.Store
	mu     sync.Mutex
	busy   map[string]chan struct{}
}

const keyVersion = "nau build 1"

// cached is one record.
type cached struct {
	Image   digest.Digest
	Layer   image.LayerBlob
	Created time.Time
	Text    string `json:",omitempty"` // of the instruction
}

// keyOf makes a key of parts that JSON can tell apart.
func keyOf(parts ...any) string {
	h := sha256.New()
	enc := json.NewEncoder(h)
	for _, p := range append([]any{keyVersion}, parts...) {
		if err := enc.Encode(p); err != nil {
			panic(fmt.Sprintf("encode cache key: %v", err)) // plain data only
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// lock lets one at a time make the result of a key.
func (c *cache) lock(ctx context.Context, key string) (unlock func(), err error) {
	for {
		c.mu.Lock()
		ch, taken := c.busy[key]
		if !taken {
			ch = make(chan struct{})
			if c.busy == nil {
				c.busy = map[string]chan struct{}{}
			}
			c.busy[key] = ch
			c.mu.Unlock()
			return func() {
				c.mu.Lock()
				delete(c.busy, key)
				c.mu.Unlock()
				close(ch)
			}, nil
		}
		c.mu.Unlock()
		select {
		case <-ch:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// get finds a record whose image is still here, and holds the image for the time of w.
func (c *cache) get(key string, w *image.Work) (cached, bool) {
	var rec cached
	path := filepath.Join(c.dir, key)
	b, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(b, &rec) != nil {
		return rec, false
	}
	img, err := c.images.Get(rec.Image.String())
	if err == nil {
		w.Hold(img)
		_, err = c.images.Get(rec.Image.String()) // held first, looked at second: a prune cannot come between
	}
	if err != nil {
		if errors.Is(err, image.ErrNotFound) {
			_ = os.Remove(path)
		}
		return rec, false
	}
	now := time.Now()
	_ = os.Chtimes(path, now, now) // when it was last used, for who prunes
	return rec, true
}

// unwritten ends the name of a record that is not whole yet.
const unwritten = ".new"

// put writes a record. A lost one costs a rebuild, so it is not synced.
func (c *cache) put(key string, rec cached) error {
	b, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	path := filepath.Join(c.dir, key)
	tmp := path + unwritten
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return fmt.Errorf("write cache record: %w", err)
	}
	return os.Rename(tmp, path)
}

// sweep removes the records whose images are gone.
func (c *cache) sweep() error {
	list, err := os.ReadDir(c.dir)
	if err != nil {
		return err
	}
	for _, e := range list {
		if strings.HasSuffix(e.Name(), unwritten) {
			continue // of a build that runs; what a crash left is overwritten
		}
		path := filepath.Join(c.dir, e.Name())
		var rec cached
		if b, err := os.ReadFile(path); err == nil && json.Unmarshal(b, &rec) == nil {
			if _, err := c.images.Get(rec.Image.String()); !errors.Is(err, image.ErrNotFound) {
				continue
			}
		}
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return nil
}

// dropOrphans lets steps go that no record names, as a build that was killed leaves them. No build may run.
func (b *Builder) dropOrphans() error {
	list, err := os.ReadDir(b.cache.dir)
	if err != nil {
		return err
	}
	named := map[digest.Digest]bool{}
	for _, e := range list {
		var rec cached
		if text, err := os.ReadFile(filepath.Join(b.cache.dir, e.Name())); err == nil && json.Unmarshal(text, &rec) == nil {
			named[rec.Image] = true
		}
	}
	return b.cfg.Images.DropSteps(context.Background(), func(id digest.Digest) bool { return !named[id] })
}
