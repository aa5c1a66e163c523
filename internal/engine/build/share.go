package build

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"nau/internal/engine/image"
)

// CacheRecord is a layer with what it was made of, as caches are exchanged.
type CacheRecord struct {
	Key     string          `json:"key"`
	Created time.Time       `json:"created"`
	Text    string          `json:"text,omitempty"`
	Layer   image.LayerBlob `json:"layer"`
}

// CacheBundle is the configuration blob of an exported cache; the manifest around it names the layers.
type CacheBundle struct {
	Version string        `json:"version"` // keys of another version never match
	Records []CacheRecord `json:"records"`
}

// Media type of the configuration of an exported cache, and the field of an image's configuration that holds an inline one.
const (
	MediaTypeCache = "application/vnd.nau.build.cache.v1+json"
	inlineField    = "nau.build.cache"
)

// Imported is a cache of elsewhere.
type Imported struct {
	Records map[string]CacheRecord
	Open    func(ctx context.Context, layer ocispec.Descriptor) (io.ReadCloser, error)
}

// ReadCache reads an exported cache's configuration, or an image's with an inline one. A cache of another version is empty.
func ReadCache(config []byte) (map[string]CacheRecord, error) {
	var doc struct {
		CacheBundle
		Inline *CacheBundle `json:"nau.build.cache"`
	}
	if err := json.Unmarshal(config, &doc); err != nil {
		return nil, fmt.Errorf("read cache: %w", err)
	}
	b := doc.CacheBundle
	if doc.Inline != nil {
		b = *doc.Inline
	}
	out := map[string]CacheRecord{}
	if b.Version != keyVersion {
		return out, nil
	}
	for _, r := range b.Records {
		if r.Layer.DiffID.Validate() != nil || r.Layer.Blob.Digest.Validate() != nil || r.Layer.Blob.Size < 0 {
			return nil, fmt.Errorf("read cache: record %q names no layer", r.Key)
		}
		out[r.Key] = r
	}
	return out, nil
}

// use notes a layer that the build made or found.
func (r *solving) use(key string, rec cached) CacheRecord {
	out := CacheRecord{Key: key, Created: rec.Created, Text: rec.Text, Layer: rec.Layer}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.used[key] = out
	return out
}

// imported looks for a key in the caches of elsewhere and brings its layer. One that cannot be had is made here.
func (r *solving) imported(key string) (rec cached, ok bool) {
	for _, im := range r.req.Imports {
		have, ok := im.Records[key]
		if !ok {
			continue
		}
		err := r.work.Fetch(r.ctx, have.Layer, func(ctx context.Context) (io.ReadCloser, error) { return im.Open(ctx, have.Layer.Blob) })
		if err == nil {
			return cached{Layer: have.Layer, Created: have.Created}, true
		}
		r.b.cfg.Log.Warn("cached layer of elsewhere cannot be had", "layer", have.Layer.Blob.Digest, "error", err)
	}
	return cached{}, false
}

// Cache lists the layers of the result over its base, or, with all, of every stage that was built for it.
func (x *Result) Cache(all bool) CacheBundle {
	b := CacheBundle{Version: keyVersion, Records: slices.Clone(x.st.keys)}
	if all {
		x.r.mu.Lock()
		b.Records = slices.Collect(maps.Values(x.r.used))
		x.r.mu.Unlock()
		slices.SortFunc(b.Records, func(a, b CacheRecord) int { return strings.Compare(a.Key, b.Key) })
	}
	return b
}

// WithCache makes an image of the result that carries the keys of its layers, so that other builds can take them from it.
func (x *Result) WithCache() (*image.Image, error) {
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(x.Config(), &doc); err != nil {
		return nil, err
	}
	b, err := json.Marshal(x.Cache(false))
	if err != nil {
		return nil, err
	}
	doc[inlineField] = b
	config, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	return x.r.work.Create(x.r.ctx, image.CreateOptions{Config: config, Layers: x.st.layers, Parent: x.r.parent(x.st)})
}
