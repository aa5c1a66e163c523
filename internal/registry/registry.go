// Package registry serves images to others: OCI distribution-spec 1.1 (pull, push, deletes, listing, referrers) with docker's search, over the
// engine's own content store, so that nothing is stored twice. It can stand in front of other registries as a pull-through mirror.
//
// It keeps which repository has which blobs, manifests and tags (see repository.go for the files); bytes are engine/content's. It knows no
// containers and no unpacked layers. internal/cluster and cmd/nau may import it; it imports engine/content and the registry client only.
package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"nau/internal/engine/content"
	"nau/internal/engine/image/remote"
)

// Config of a registry.
type Config struct {
	Content *content.Store
	Owner   string        // name of its pins in the content store; "" = "registry"
	Auth    Auth          // nil = everybody may do everything
	Mirror  *Mirror       // nil = no pull-through
	Deletes bool          // DELETE is served
	Reads   bool          // nothing else is: pushes and deletes are refused
	Grace   time.Duration // blobs uploaded but not yet in a manifest are kept this long; 0 = one hour
	Now     func() time.Time
	Log     *slog.Logger
}

// Mirror says which registries are asked for what is not here.
type Mirror struct {
	Client  *remote.Client
	Default string                                       // host of requests that name none, "docker.io"; "" = requests must say "?ns=host"
	Hosts   func(host string) bool                       // hosts that may be asked; nil = Default only
	Creds   func(host string) (remote.Auth, error)       // nil = anonymous
	Fresh   func(ctx context.Context, at time.Time) bool // whether a tag looked up at that time is still good; nil = asked for every time
}

// Registry serves one set of repositories. It is safe for concurrent use.
type Registry struct {
	cfg  Config
	dir  string
	log  *slog.Logger
	mu   sync.Mutex // covers uploads, and the read-modify-write of repository files
	ups  map[string]*upload
	pull mirrorFlights
}

// New opens the registry's records.
func New(cfg Config) (*Registry, error) {
	if cfg.Content == nil {
		return nil, errors.New("open registry: no content store")
	}
	if cfg.Owner == "" {
		cfg.Owner = "registry"
	}
	if cfg.Grace == 0 {
		cfg.Grace = time.Hour
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	dir, err := cfg.Content.PinDir(cfg.Owner)
	if err != nil {
		return nil, fmt.Errorf("open registry: %w", err)
	}
	return &Registry{cfg: cfg, dir: dir, log: cfg.Log, ups: map[string]*upload{}}, nil
}

// Close ends running uploads; they can be resumed after the next New.
func (g *Registry) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for id, u := range g.ups {
		u.ingest.Close()
		delete(g.ups, id)
	}
	return nil
}

// The grammar of distribution-spec, "Pulling manifests".
var (
	nameRule = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagRule  = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

const maxName = 255

// request is one call with what its path says.
type request struct {
	g    *Registry
	w    http.ResponseWriter
	r    *http.Request
	repo repository
	arg  string // reference, digest or upload id
}

// route is one row of the API: methods, the fixed part between repository and argument, what a client must be allowed, and the handler.
type route struct {
	method, part string
	action       string
	serve        func(*request) error
}

// The order means nothing here: part and method make a row unique.
var routes = []route{
	{"GET", "/manifests/", "pull", (*request).getManifest},
	{"HEAD", "/manifests/", "pull", (*request).getManifest},
	{"PUT", "/manifests/", "push", (*request).putManifest},
	{"DELETE", "/manifests/", "delete", (*request).deleteManifest},
	{"GET", "/blobs/", "pull", (*request).getBlob},
	{"HEAD", "/blobs/", "pull", (*request).getBlob},
	{"DELETE", "/blobs/", "delete", (*request).deleteBlob},
	{"POST", "/blobs/uploads/", "push", (*request).startUpload},
	{"GET", "/blobs/uploads/", "push", (*request).uploadStatus},
	{"PATCH", "/blobs/uploads/", "push", (*request).patchUpload},
	{"PUT", "/blobs/uploads/", "push", (*request).putUpload},
	{"DELETE", "/blobs/uploads/", "push", (*request).deleteUpload},
	{"GET", "/tags/list", "pull", (*request).listTags},
	{"GET", "/referrers/", "pull", (*request).listReferrers},
}

// parts in the order in which a path is searched for them, from its end: the longer first.
var parts = []string{"/blobs/uploads/", "/manifests/", "/blobs/", "/referrers/", "/tags/list"}

// splitPath takes "library/nginx/manifests/latest" apart. The part is looked for from the end: repository names may contain "manifests".
func splitPath(p string) (name, part, arg string, ok bool) {
	if n, found := strings.CutSuffix(p, "/tags/list"); found {
		return n, "/tags/list", "", true
	}
	if n, found := strings.CutSuffix(p, "/blobs/uploads"); found {
		return n, "/blobs/uploads/", "", true
	}
	at := -1
	for _, x := range parts[:len(parts)-1] {
		if i := strings.LastIndex(p, x); i > at && !strings.Contains(p[i+len(x):], "/") {
			// "/blobs/" also matches inside "/blobs/uploads/x"'s head, never with a slash-free rest.
			at, name, part, arg = i, p[:i], x, p[i+len(x):]
		}
	}
	return name, part, arg, at >= 0
}

// ServeHTTP implements http.Handler.
func (g *Registry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
	if err := g.serve(w, r); err != nil {
		writeError(w, r, err, g.log)
	}
}

func (g *Registry) serve(w http.ResponseWriter, r *http.Request) error {
	p := r.URL.Path
	switch {
	case p == "/v2" || p == "/v2/":
		if err := g.allow(w, r, nil); err != nil {
			return err
		}
		w.Header().Set("Content-Type", "application/json")
		_, err := w.Write([]byte("{}"))
		return ignoreGone(err)
	case p == "/v2/_catalog":
		if err := g.allow(w, r, []Access{{"registry", "catalog", "*"}}); err != nil {
			return err
		}
		return g.catalog(w, r)
	case p == "/v1/_ping":
		w.Header().Set("X-Docker-Registry-Version", "1.0")
		_, err := w.Write([]byte("true"))
		return ignoreGone(err)
	case p == "/v1/search":
		if err := g.allow(w, r, []Access{{"registry", "catalog", "search"}}); err != nil {
			return err
		}
		return g.search(w, r)
	case p == "/token":
		if t, ok := g.cfg.Auth.(*TokenAuth); ok {
			return t.issue(w, r)
		}
	}
	rest, ok := strings.CutPrefix(p, "/v2/")
	if !ok {
		return errNotFound
	}
	name, part, arg, ok := splitPath(rest)
	if !ok {
		return errNotFound
	}
	if !nameRule.MatchString(name) || len(name) > maxName {
		return fault(http.StatusBadRequest, "NAME_INVALID", "invalid repository name", name)
	}
	methods := ""
	for _, rt := range routes {
		if rt.part != part {
			continue
		}
		if rt.method != r.Method {
			methods += rt.method + " "
			continue
		}
		if err := g.allow(w, r, []Access{{"repository", name, rt.action}}); err != nil {
			return err
		}
		if g.cfg.Reads && rt.action != "pull" {
			return fault(http.StatusMethodNotAllowed, "UNSUPPORTED", "this registry is read-only", r.Method)
		}
		return rt.serve(&request{g: g, w: w, r: r, repo: g.repository(name), arg: arg})
	}
	w.Header().Set("Allow", strings.ReplaceAll(strings.TrimSpace(methods), " ", ", "))
	return fault(http.StatusMethodNotAllowed, "UNSUPPORTED", "method not allowed", r.Method)
}

// digestArg reads a digest out of a path or query.
func digestArg(s string) (digest.Digest, error) {
	d := digest.Digest(s)
	if err := d.Validate(); err != nil || d.Algorithm() != digest.SHA256 && d.Algorithm() != digest.SHA512 {
		return "", fault(http.StatusBadRequest, "DIGEST_INVALID", "invalid digest", s)
	}
	return d, nil
}
