package registry

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"nau/internal/engine/content"
	"nau/internal/engine/image/remote"
)

// mirrorFlights are the blobs that are coming in from upstream now; every client that wants one follows the same download.
type mirrorFlights struct {
	mu  sync.Mutex
	all map[digest.Digest]*content.Ingest
}

// upstream finds the registry that stands behind a request; nil if none may be asked.
func (q *request) upstream() (*remote.Repository, error) {
	m := q.g.cfg.Mirror
	host := q.r.URL.Query().Get("ns")
	if host == "" {
		host = m.Default
	}
	if host == "" || host != m.Default && (m.Hosts == nil || !m.Hosts(host)) {
		return nil, nil
	}
	var auth remote.Auth
	if m.Creds != nil {
		var err error
		if auth, err = m.Creds(host); err != nil {
			return nil, err
		}
	}
	return m.Client.Repository(host, q.repo.name, auth)
}

// mirrorManifest brings a manifest from upstream. A tag that is here is looked up again, and served as it is when upstream does not answer; what is
// asked by digest never changes.
func (q *request) mirrorManifest(have digest.Digest, here bool) (digest.Digest, string, error) {
	byDigest := digest.Digest(q.arg).Validate() == nil
	if here && byDigest && q.g.cfg.Content.Has(have) {
		return "", "", fs.ErrExist
	}
	up, err := q.upstream()
	if err != nil {
		return "", "", err
	}
	if up == nil {
		return "", "", fs.ErrNotExist
	}
	ctx := q.r.Context()
	if here {
		if q.fresh(ctx) {
			return "", "", fs.ErrExist
		}
		// Asking for the head is cheap where manifests are counted.
		if desc, err := up.Head(ctx, q.arg); err == nil && desc.Digest == have && q.g.cfg.Content.Has(have) {
			return have, desc.MediaType, nil
		}
	}
	desc, b, err := up.Manifest(ctx, q.arg)
	switch {
	case errors.Is(err, remote.ErrManifestUnknown):
		return "", "", fault(http.StatusNotFound, "MANIFEST_UNKNOWN", "manifest unknown", map[string]string{"name": q.repo.name, "reference": q.arg})
	case errors.Is(err, remote.ErrUnauthorized):
		return "", "", fault(http.StatusForbidden, "DENIED", "upstream denies access", nil)
	case err != nil:
		return "", "", fault(http.StatusBadGateway, "UNKNOWN", "upstream does not answer", nil)
	}
	var m manifestParts
	if err := json.Unmarshal(b, &m); err != nil {
		return "", "", fault(http.StatusBadGateway, "MANIFEST_INVALID", "upstream's manifest is not JSON", nil)
	}
	media := desc.MediaType
	if media == "" || media == "application/json" {
		media = m.MediaType
	}
	if media == "" {
		media = ocispec.MediaTypeImageManifest
	}
	tag := ""
	if !byDigest {
		tag = q.arg
	}
	return desc.Digest, media, q.g.storeMirrored(q.repo, desc.Digest, media, b, tag)
}

func (q *request) fresh(ctx context.Context) bool {
	f := q.g.cfg.Mirror.Fresh
	if f == nil {
		return false
	}
	at, err := q.repo.modified("_tags", "tag-"+q.arg)
	return err == nil && f(ctx, at)
}

// storeMirrored keeps a manifest whose blobs may never come. Nothing was promised: it is durable when it is.
func (g *Registry) storeMirrored(repo repository, d digest.Digest, media string, b []byte, tag string) error {
	lease := g.cfg.Content.Lease()
	defer lease.Release()
	lease.Hold(d)
	if err := g.cfg.Content.PutBytes(d, b); err != nil {
		return err
	}
	if err := repo.put("_manifests", content.PinName(d), []byte(media)); err != nil {
		return err
	}
	if tag == "" {
		return nil
	}
	return repo.setTag(tag, d)
}

// mirrorBlob serves a blob while it comes in from upstream. Only blobs that a manifest of the repository names are asked for: then the size is
// known, and nobody can make us fetch at will.
func (q *request) mirrorBlob(d digest.Digest) error {
	desc, err := q.g.named(q.repo, d)
	if err != nil {
		return err
	}
	if desc == nil {
		return unknownBlob(d)
	}
	if q.g.cfg.Content.Has(d) { // another repository, or the engine, has it
		if err := q.repo.linkBlob(d); err != nil {
			return err
		}
		return q.serveBlob(d)
	}
	if q.r.Method == http.MethodHead {
		q.w.Header().Set("Content-Length", strconv.FormatInt(desc.Size, 10))
		q.w.Header().Set("Docker-Content-Digest", d.String())
		return nil
	}
	up, err := q.upstream()
	if err != nil {
		return err
	}
	if up == nil {
		return unknownBlob(d)
	}
	r, err := q.follow(up, *desc)
	if err != nil {
		return err
	}
	defer r.Close()
	h := q.w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Docker-Content-Digest", d.String())
	h.Set("Content-Length", strconv.FormatInt(desc.Size, 10))
	if _, err := io.CopyBuffer(struct{ io.Writer }{q.w}, r, make([]byte, 256<<10)); err != nil {
		panic(http.ErrAbortHandler) // the answer has begun: only a broken connection tells the client
	}
	return nil
}

// follow starts the download of a blob, or joins it. The download goes on when this client leaves: the next one wants it too.
func (q *request) follow(up *remote.Repository, desc ocispec.Descriptor) (io.ReadCloser, error) {
	g := q.g
	g.pull.mu.Lock()
	defer g.pull.mu.Unlock()
	if i := g.pull.all[desc.Digest]; i != nil {
		if r, err := i.Follow(q.r.Context()); err == nil {
			return r, nil
		}
	}
	if f, err := g.cfg.Content.Blob(desc.Digest); err == nil {
		return f, nil
	}
	i, err := g.cfg.Content.Begin("blob "+desc.Digest.String(), desc.Digest.Algorithm())
	if err != nil {
		return nil, err
	}
	r, err := i.Follow(q.r.Context())
	if err != nil {
		i.Close()
		return nil, err
	}
	if g.pull.all == nil {
		g.pull.all = map[digest.Digest]*content.Ingest{}
	}
	g.pull.all[desc.Digest] = i
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(q.r.Context()), 6*time.Hour)
		defer cancel()
		lease := g.cfg.Content.Lease()
		defer lease.Release()
		lease.Hold(desc.Digest)
		err := up.Download(ctx, desc.Digest, i.Offset(), desc.Size, i, nil)
		if err == nil {
			_, err = i.Commit(desc.Digest)
		}
		if err == nil {
			err = q.repo.linkBlob(desc.Digest)
		}
		if err != nil {
			g.log.Warn("mirror blob", "repository", q.repo.name, "digest", desc.Digest, "error", err)
		}
		i.Close()
		g.pull.mu.Lock()
		delete(g.pull.all, desc.Digest)
		g.pull.mu.Unlock()
	}()
	return r, nil
}

// named finds the descriptor by which a manifest of the repository names a blob; nil if none does.
func (g *Registry) named(repo repository, d digest.Digest) (*ocispec.Descriptor, error) {
	names, err := repo.list("_manifests", "")
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		md, ok := content.PinDigest(n)
		if !ok {
			continue
		}
		b, err := g.cfg.Content.ReadAll(md, remote.MaxManifest)
		if err != nil {
			continue
		}
		var m manifestParts
		if json.Unmarshal(b, &m) != nil {
			continue
		}
		for _, x := range m.blobs() {
			if x.Digest == d && x.Size >= 0 {
				return &x, nil
			}
		}
	}
	return nil, nil
}
