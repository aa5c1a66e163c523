package registry

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"nau/internal/engine/content"
)

func (q *request) getBlob() error {
	d, err := digestArg(q.arg)
	if err != nil {
		return err
	}
	if !q.repo.hasBlob(d) || !q.g.cfg.Content.Has(d) {
		if q.g.cfg.Mirror != nil {
			return q.mirrorBlob(d)
		}
		return unknownBlob(d)
	}
	return q.serveBlob(d)
}

func (q *request) serveBlob(d digest.Digest) error {
	f, err := q.g.cfg.Content.Blob(d)
	if errors.Is(err, content.ErrNotFound) {
		return unknownBlob(d)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	h := q.w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Docker-Content-Digest", d.String())
	h.Set("ETag", `"`+d.String()+`"`)
	h.Set("Cache-Control", "max-age=31536000")
	http.ServeContent(q.w, q.r, "", time.Time{}, f)
	return nil
}

func unknownBlob(d digest.Digest) error {
	return fault(http.StatusNotFound, "BLOB_UNKNOWN", "blob unknown to registry", map[string]string{"digest": d.String()})
}

func (q *request) deleteBlob() error {
	if !q.g.cfg.Deletes {
		return fault(http.StatusMethodNotAllowed, "UNSUPPORTED", "deletes are not enabled", nil)
	}
	d, err := digestArg(q.arg)
	if err != nil {
		return err
	}
	if !q.repo.hasBlob(d) {
		return unknownBlob(d)
	}
	if err := q.repo.drop("_blobs", content.PinName(d)); err != nil {
		return err
	}
	q.w.WriteHeader(http.StatusAccepted)
	return nil
}

// upload is a blob on its way in, over any number of requests.
type upload struct {
	mu     sync.Mutex // one request at a time
	ingest *content.Ingest
	used   time.Time
}

func (q *request) startUpload() error {
	query := q.r.URL.Query()
	if m := query.Get("mount"); m != "" {
		from := query.Get("from")
		if err := q.askForSource(from); err != nil {
			return err
		}
		if d, err := digestArg(m); err == nil && q.mount(d, from) {
			return q.created(d)
		}
	}
	id := strings.ToLower(rand.Text())
	if dg := query.Get("digest"); dg != "" {
		d, err := digestArg(dg)
		if err != nil {
			return err
		}
		return q.single(id, d)
	}
	if err := q.repo.put("_uploads", "up-"+id, nil); err != nil {
		return err
	}
	q.location(id, 0)
	q.w.WriteHeader(http.StatusAccepted)
	return nil
}

// askForSource has the client get another token where the one it brings was got without a word of the repository to mount from. A client that
// asked for that and was refused is not asked again: it uploads.
func (q *request) askForSource(from string) error {
	tokens, ok := q.g.cfg.Auth.(*TokenAuth)
	if !ok || !nameRule.MatchString(from) || tokens.Private == nil {
		return nil
	}
	source := Access{"repository", from, "pull"}
	if tokens.asked(q.r, source) {
		return nil
	}
	q.w.Header().Set("WWW-Authenticate", tokens.Challenge(q.r, []Access{{"repository", q.repo.name, "push"}, source}))
	return fault(http.StatusUnauthorized, "UNAUTHORIZED", "authentication required for the repository to mount from", nil)
}

// mount links a blob that another repository has. A client that names no repository gets any blob that is here, where nobody's reading is
// restricted anyway.
func (q *request) mount(d digest.Digest, from string) bool {
	if !q.g.cfg.Content.Has(d) {
		return false
	}
	if from == "" {
		if q.g.cfg.Auth != nil {
			return false
		}
	} else if !nameRule.MatchString(from) || !q.g.repository(from).hasBlob(d) ||
		q.g.cfg.Auth != nil && q.g.cfg.Auth.Allow(q.r, []Access{{"repository", from, "pull"}}) != nil {
		return false
	}
	lease := q.g.cfg.Content.Lease()
	defer lease.Release()
	lease.Hold(d)
	return q.g.cfg.Content.Has(d) && q.repo.linkBlob(d) == nil
}

func (q *request) created(d digest.Digest) error {
	h := q.w.Header()
	h.Set("Location", "/v2/"+q.repo.name+"/blobs/"+d.String())
	h.Set("Docker-Content-Digest", d.String())
	q.w.WriteHeader(http.StatusCreated)
	return nil
}

func (q *request) location(id string, offset int64) {
	h := q.w.Header()
	h.Set("Location", "/v2/"+q.repo.name+"/blobs/uploads/"+id)
	h.Set("Docker-Upload-UUID", id)
	h.Set("Range", "0-"+strconv.FormatInt(max(offset-1, 0), 10))
}

// single is the upload in one request.
func (q *request) single(id string, d digest.Digest) error {
	i, err := q.g.cfg.Content.Begin(q.g.uploadKey(q.repo, id), d.Algorithm())
	if err != nil {
		return err
	}
	defer i.Abort()
	if err := copyBody(i, q.r.Body); err != nil {
		return err
	}
	return q.commit(i, d)
}

func (g *Registry) uploadKey(repo repository, id string) string {
	return "upload " + g.cfg.Owner + " " + repo.name + " " + id
}

func copyBody(w io.Writer, r io.Reader) error {
	var wrote error
	_, err := io.CopyBuffer(writerFunc(func(p []byte) (int, error) {
		n, err := w.Write(p)
		wrote = err
		return n, err
	}), struct{ io.Reader }{r}, make([]byte, 256<<10))
	if wrote != nil {
		return wrote
	}
	if err != nil {
		return fault(http.StatusBadRequest, "BLOB_UPLOAD_INVALID", "body ended early", nil)
	}
	return nil
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func (q *request) commit(i *content.Ingest, d digest.Digest) error {
	lease := q.g.cfg.Content.Lease()
	defer lease.Release()
	lease.Hold(d)
	if _, err := i.Commit(d); errors.Is(err, content.ErrDigest) {
		return fault(http.StatusBadRequest, "DIGEST_INVALID", "bytes do not have this digest", d.String())
	} else if err != nil {
		return err
	}
	if err := q.repo.linkBlob(d); err != nil {
		return err
	}
	return q.created(d)
}

// session finds a running upload, taking it up again after a restart.
func (q *request) session(id string) (*upload, error) {
	unknown := fault(http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "upload unknown to registry", id)
	for _, c := range id {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return nil, unknown
		}
	}
	if id == "" || len(id) > 64 || !q.repo.has("_uploads", "up-"+id) {
		return nil, unknown
	}
	key := q.g.uploadKey(q.repo, id)
	q.g.mu.Lock()
	defer q.g.mu.Unlock()
	u := q.g.ups[key]
	if u == nil {
		i, err := q.g.cfg.Content.Begin(key, digest.SHA256)
		if err != nil {
			return nil, err
		}
		u = &upload{ingest: i}
		q.g.ups[key] = u
	}
	u.used = q.g.cfg.Now()
	return u, nil
}

func (q *request) forget(id string) error {
	key := q.g.uploadKey(q.repo, id)
	q.g.mu.Lock()
	delete(q.g.ups, key)
	q.g.mu.Unlock()
	return q.repo.drop("_uploads", "up-"+id)
}

func (q *request) uploadStatus() error {
	u, err := q.session(q.arg)
	if err != nil {
		return err
	}
	q.location(q.arg, u.ingest.Offset())
	q.w.WriteHeader(http.StatusNoContent)
	return nil
}

// checkRange: a chunk must start where the last one ended (distribution-spec, "Pushing a blob in chunks").
func (q *request) checkRange(u *upload) error {
	cr := q.r.Header.Get("Content-Range")
	if cr == "" {
		return nil
	}
	from, to, ok := strings.Cut(strings.TrimPrefix(cr, "bytes "), "-")
	start, err := strconv.ParseInt(from, 10, 64)
	end, err2 := strconv.ParseInt(to, 10, 64)
	if !ok || err != nil || err2 != nil || start != u.ingest.Offset() || end < start-1 || q.r.ContentLength >= 0 && end-start+1 != q.r.ContentLength {
		q.location(q.arg, u.ingest.Offset())
		return fault(http.StatusRequestedRangeNotSatisfiable, "BLOB_UPLOAD_INVALID", "chunk does not continue the upload", cr)
	}
	return nil
}

func (q *request) patchUpload() error {
	u, err := q.session(q.arg)
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := q.checkRange(u); err != nil {
		return err
	}
	if err := copyBody(u.ingest, q.r.Body); err != nil {
		return err
	}
	q.location(q.arg, u.ingest.Offset())
	q.w.WriteHeader(http.StatusAccepted)
	return nil
}

func (q *request) putUpload() error {
	d, err := digestArg(q.r.URL.Query().Get("digest"))
	if err != nil {
		return err
	}
	u, err := q.session(q.arg)
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := q.checkRange(u); err != nil {
		return err
	}
	if err := copyBody(u.ingest, q.r.Body); err != nil {
		return err
	}
	if d.Algorithm() != digest.SHA256 { // the session hashed another way
		if err := u.ingest.Rehash(d.Algorithm()); err != nil {
			return err
		}
	}
	if err := q.forget(q.arg); err != nil {
		return err
	}
	return q.commit(u.ingest, d)
}

func (q *request) deleteUpload() error {
	u, err := q.session(q.arg)
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ingest.Abort()
	if err := q.forget(q.arg); err != nil {
		return err
	}
	q.w.WriteHeader(http.StatusNoContent)
	return nil
}

// dropUploads ends the sessions of one repository that nobody has used for a while.
func (g *Registry) dropUploads(repo repository, before time.Time) error {
	ids, err := repo.list("_uploads", "up-")
	if err != nil {
		return err
	}
	for _, id := range ids {
		key := g.uploadKey(repo, id)
		st, err := os.Stat(filepath.Join(repo.dir, "_uploads", "up-"+id))
		if err != nil || st.ModTime().After(before) {
			continue
		}
		g.mu.Lock()
		u := g.ups[key]
		if u != nil && u.used.After(before) {
			g.mu.Unlock()
			continue
		}
		delete(g.ups, key)
		g.mu.Unlock()
		if u == nil {
			i, err := g.cfg.Content.Begin(key, digest.SHA256)
			if err != nil {
				continue
			}
			u = &upload{ingest: i}
		}
		u.ingest.Abort()
		if err := repo.drop("_uploads", "up-"+id); err != nil {
			return fmt.Errorf("drop upload: %w", err)
		}
	}
	return nil
}
