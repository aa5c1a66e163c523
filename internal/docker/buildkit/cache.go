package buildkit

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"nau/internal/docker/buildkit/wire"
	"nau/internal/engine/build"
	"nau/internal/engine/image"
)

// cacheExport is one --cache-to of a build.
type cacheExport struct {
	kind  string // "inline", "registry", "local"
	attrs map[string]string
}

// cacheAttrs are the attributes that are carried out, and the only values that some may have.
var cacheAttrs = map[string][]string{"mode": {"", "min", "max"}, "ref": nil, "dest": nil, "src": nil, "tag": nil, "digest": nil, "ignore-error": nil, "image-manifest": {"", "true"},
	"oci-mediatypes": {"", "true"}, "compression": {"", "gzip"}, "force-compression": nil, "registry.insecure": {"", "false"}, "reset": {"", "false"}}

// cachesOf reads where the cache is to be exported.
func cachesOf(req *wire.ControlSolveRequest) (out []cacheExport, err error) {
	for _, e := range req.Cache.GetExports() {
		c := cacheExport{e.Type, e.Attrs}
		need := map[string]string{"inline": "", "registry": "ref", "local": "dest"}
		attr, ok := need[c.kind]
		if !ok && !slices.Contains([]string{"gha", "s3", "azblob"}, c.kind) {
			return nil, fmt.Errorf("unknown cache exporter: %q", c.kind)
		}
		if !ok {
			return nil, status.Errorf(codes.Unimplemented, "cache export of type %s: this builder has inline, registry and local", c.kind)
		}
		if attr != "" && c.attrs[attr] == "" {
			return nil, status.Errorf(codes.InvalidArgument, "cache export of type %s needs %s=…", c.kind, attr)
		}
		for k, v := range c.attrs {
			if values, ok := cacheAttrs[k]; !ok || values != nil && !slices.Contains(values, v) {
				return nil, status.Errorf(codes.Unimplemented, "cache export of type %s: %s=%s is not served by this builder", c.kind, k, v)
			}
		}
		out = append(out, c)
	}
	return out, nil
}

// inline tells whether images are to carry the cache's keys.
func inline(list []cacheExport) bool {
	return slices.ContainsFunc(list, func(c cacheExport) bool { return c.kind == "inline" })
}

// exportCache writes the cache of all results as one artifact.
func (s *Server) exportCache(j *job, t *teller, results []*result, c cacheExport, out map[string]string) (err error) {
	if c.kind == "inline" { // the images have it
		return nil
	}
	st := t.begin("exporting cache to " + map[string]string{"registry": "registry", "local": "client directory"}[c.kind])
	defer func() { st.end(err) }()
	bundle, layers := gather(results, c.attrs["mode"] == "max")
	config, err := json.Marshal(bundle)
	if err != nil {
		return err
	}
	st.part("writing cache manifest", 0, 0, false)
	desc, err := s.writeCache(j, c, config, layers)
	if err != nil {
		err = fmt.Errorf("export cache: %w", err)
		if c.attrs["ignore-error"] == "true" {
			s.cfg.Log.Warn("cache of a build is not exported", "error", err)
			return nil
		}
		return err
	}
	st.part("writing cache manifest", desc.Size, desc.Size, true)
	b, err := json.Marshal(desc)
	out["cache.manifest"] = string(b)
	return err
}

func (s *Server) writeCache(j *job, c cacheExport, config []byte, layers []ocispec.Descriptor) (ocispec.Descriptor, error) {
	cl, err := s.client(j.ctx, j.req.Session)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if c.kind == "registry" {
		auth, err := cl.authOf(j.ctx, c.attrs["ref"])
		if err != nil {
			return ocispec.Descriptor{}, err
		}
		return s.cfg.Images.PushArtifact(j.ctx, c.attrs["ref"], config, build.MediaTypeCache, layers, auth)
	}
	store := "local:" + c.attrs["dest"]
	manifest, desc, conf, err := image.Manifest(config, build.MediaTypeCache, layers)
	if err != nil {
		return desc, err
	}
	for _, l := range layers {
		r, err := s.cfg.Images.Open(l.Digest)
		if err != nil {
			return desc, err
		}
		err = cl.put(j.ctx, store, l, r)
		r.Close()
		if err != nil {
			return desc, err
		}
	}
	if err := cl.putBytes(j.ctx, store, conf, config); err != nil {
		return desc, err
	}
	return desc, cl.putBytes(j.ctx, store, desc, manifest)
}

// gather joins the results' caches; layers that several have come once.
func gather(results []*result, all bool) (bundle build.CacheBundle, layers []ocispec.Descriptor) {
	keys, blobs := map[string]bool{}, map[digest.Digest]bool{}
	for _, r := range results {
		b := r.res.Cache(all)
		bundle.Version = b.Version
		for _, rec := range b.Records {
			if !keys[rec.Key] {
				keys[rec.Key] = true
				bundle.Records = append(bundle.Records, rec)
			}
			if !blobs[rec.Layer.Blob.Digest] {
				blobs[rec.Layer.Blob.Digest] = true
				layers = append(layers, rec.Layer.Blob)
			}
		}
	}
	return bundle, layers
}

// authOf asks the client for what it knows of a reference's registry.
func (c *client) authOf(ctx context.Context, ref string) (*image.Auth, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "read reference %q: %v", ref, err)
	}
	return c.credentials(ctx)(reference.Domain(named))
}

// imports opens the caches of elsewhere. One that cannot be read is told of and passed over, as a cache is no condition of a build.
func (f *frontend) imports() (out []build.Imported) {
	for _, e := range f.o.Imports {
		from := e.Attrs["ref"]
		if e.Type == "local" {
			from = e.Attrs["src"]
		}
		st := f.t.begin("importing cache manifest from " + from)
		im, err := f.open(e)
		st.end(err)
		if err == nil {
			out = append(out, im)
		}
	}
	return out
}

func (f *frontend) open(e *wire.CacheEntry) (im build.Imported, err error) {
	ctx := f.j.ctx
	c, err := f.s.clientOf(f.j, f.session)
	if err != nil {
		return im, err
	}
	var config []byte
	switch e.Type {
	case "registry":
		auth, err := c.authOf(ctx, e.Attrs["ref"])
		if err != nil {
			return im, err
		}
		if config, im.Open, err = f.s.cfg.Images.PullConfig(ctx, e.Attrs["ref"], f.s.cfg.Builder.Platforms()[0], auth); err != nil {
			return im, err
		}
	case "local":
		store := "local:" + e.Attrs["src"]
		im.Open = func(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error) { return c.get(ctx, store, d) }
		if config, err = c.config(ctx, store, digest.Digest(e.Attrs["digest"])); err != nil {
			return im, err
		}
	default:
		return im, status.Errorf(codes.Unimplemented, "cache import of type %s: this builder has registry and local", e.Type)
	}
	im.Records, err = build.ReadCache(config)
	return im, err
}

// config reads the configuration that a manifest in a store of the client's names.
func (c *client) config(ctx context.Context, store string, manifest digest.Digest) ([]byte, error) {
	b, err := c.small(ctx, store, manifest)
	if err != nil {
		return nil, err
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("read manifest %s of the client: %w", manifest, err)
	}
	return c.small(ctx, store, m.Config.Digest)
}

// maxConfig bounds what is read into memory of a client's store.
const maxConfig = 8 << 20

// small reads a small blob and checks it.
func (c *client) small(ctx context.Context, store string, d digest.Digest) ([]byte, error) {
	if err := d.Validate(); err != nil {
		return nil, fmt.Errorf("read blob %q of the client: %w", string(d), err)
	}
	r, err := c.get(ctx, store, ocispec.Descriptor{Digest: d})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxConfig))
	if err == nil && digest.FromBytes(b) != d {
		err = image.ErrArchive
	}
	if err != nil {
		return nil, fmt.Errorf("read blob %s of the client: %w", d, err)
	}
	return b, nil
}
