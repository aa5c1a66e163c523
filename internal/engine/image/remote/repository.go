package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Media types of docker's image manifest schema 2, as old as the OCI ones are new.
const (
	DockerManifest     = "application/vnd.docker.distribution.manifest.v2+json"
	DockerManifestList = "application/vnd.docker.distribution.manifest.list.v2+json"
	DockerConfig       = "application/vnd.docker.container.image.v1+json"
	DockerLayer        = "application/vnd.docker.image.rootfs.diff.tar"
	DockerLayerGzip    = "application/vnd.docker.image.rootfs.diff.tar.gzip"
	DockerLayerForeign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
)

// MaxManifest is the largest manifest that is read (distribution-spec asks for 4 MiB at least).
const MaxManifest = 8 << 20

var accept = strings.Join([]string{ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest, DockerManifestList, DockerManifest, "*/*"}, ", ")

// Repository is one repository seen with one set of credentials.
type Repository struct {
	c         *Client
	host      string // as in references
	path      string
	auth      Auth
	endpoints []endpoint
}

// Repository finds where host's repository path is served.
func (c *Client) Repository(host, path string, auth Auth) (*Repository, error) {
	es, err := c.endpoints(host)
	if err != nil {
		return nil, err
	}
	return &Repository{c: c, host: host, path: path, auth: auth, endpoints: es}, nil
}

// tryEndpoints calls f for one endpoint after the other until one does well, and answers which. With none the most telling error
// is answered: refused credentials, then an unknown name, then silence.
func (r *Repository) tryEndpoints(ctx context.Context, f func(endpoint) error) (endpoint, error) {
	var errs []error
	es := r.endpoints
	for round := 0; ; round++ {
		for _, e := range es {
			err := f(e)
			if err == nil {
				if e.mirror == "" {
					r.c.works(e.base.Host, e.base.Scheme)
				}
				return e, nil
			}
			if ctx.Err() != nil {
				return e, context.Cause(ctx)
			}
			errs = append(errs, err)
		}
		// A remembered scheme may have changed.
		if round > 0 || !errors.Is(errs[len(errs)-1], ErrUnreachable) || !r.c.insecure(es[len(es)-1].base.Host) {
			break
		}
		before := len(es)
		r.c.doubtScheme(es[len(es)-1].base.Host)
		var err error
		if es, err = r.c.endpoints(r.host); err != nil || len(es) == before {
			break
		}
		r.endpoints = es
	}
	return endpoint{}, worst(errs)
}

func worst(errs []error) error {
	for _, kind := range []error{ErrCorrupt, ErrUnauthorized, ErrManifestUnknown} {
		for i := len(errs) - 1; i >= 0; i-- {
			if errors.Is(errs[i], kind) {
				return errs[i]
			}
		}
	}
	for _, err := range errs {
		var e *Error
		if errors.As(err, &e) && !e.plainOnTLS() {
			return err
		}
	}
	return errs[0]
}

// plainOnTLS: a TLS server's answer to plain HTTP.
func (e *Error) plainOnTLS() bool {
	return e.Status == http.StatusBadRequest && len(e.Codes) == 0 && strings.Contains(strings.ToLower(e.Body), "https")
}

func unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

func (r *Repository) url(e endpoint, suffix string) *url.URL {
	u := e.base
	u.Path += "/v2/"
	if r.path != "" {
		u.Path += r.path + "/" + suffix
	}
	if e.mirror != "" {
		q := u.Query()
		q.Set("ns", e.mirror)
		u.RawQuery = q.Encode()
	}
	return &u
}

// send makes one request against one endpoint, authorizing if asked to. The answer has status < 300; anything else is an error.
func (r *Repository) send(ctx context.Context, e endpoint, method, suffix string, header http.Header, body func() (io.Reader, int64), scope string) (*http.Response, error) {
	return r.sendURL(ctx, e, method, r.url(e, suffix), header, body, scope)
}

func (r *Repository) sendURL(ctx context.Context, e endpoint, method string, u *url.URL, header http.Header, body func() (io.Reader, int64), scope string) (*http.Response, error) {
	authorization := ""
	auth := r.auth
	for try := 0; ; try++ {
		var rd io.Reader
		var size int64
		if body != nil {
			rd, size = body()
		}
		req, err := http.NewRequestWithContext(ctx, method, u.String(), rd)
		if err != nil {
			return nil, err
		}
		if body != nil {
			req.ContentLength = size
			if size == 0 {
				req.Body = http.NoBody
			}
		}
		for k, v := range header {
			req.Header[k] = v
		}
		req.Header.Set("User-Agent", r.c.cfg.UserAgent)
		if authorization == "" && r.path != "" {
			authorization = r.c.remembered(u.Host, r.fullScope(scope), auth)
		}
		if authorization != "" {
			req.Header.Set("Authorization", authorization)
		}
		resp, err := r.c.httpClient(u.Host).Do(req)
		if err != nil {
			return nil, unreachable(ctx, err)
		}
		if resp.StatusCode == http.StatusUnauthorized && try == 0 {
			a, err := r.c.authorize(ctx, resp, auth, r.fullScope(scope))
			if err != nil {
				resp.Body.Close()
				return nil, err
			}
			if a != "" && a != authorization {
				io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
				resp.Body.Close()
				authorization = a
				r.c.remember(u.Host, r.fullScope(scope), auth, a)
				continue
			}
		}
		if resp.StatusCode >= 300 {
			return nil, refused(resp)
		}
		return resp, nil
	}
}

func (r *Repository) fullScope(actions string) string {
	if r.path == "" || actions == "" {
		return ""
	}
	return "repository:" + r.path + ":" + actions
}

// retry repeats f while its error is one that passes: at most four tries, a quarter of a second and then twice as long each time.
func retry(ctx context.Context, f func() error) error {
	wait := 250 * time.Millisecond
	for try := 1; ; try++ {
		err := f()
		if err == nil || try == 4 || !passing(err) {
			return err
		}
		if sleep(ctx, wait) != nil {
			return context.Cause(ctx)
		}
		wait *= 2
	}
}

func passing(err error) bool {
	var e *Error
	if errors.As(err, &e) {
		return e.temporary()
	}
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, errStalled)
}

// Manifest gets a manifest or index by tag or digest, verified. A missing one is ErrManifestUnknown.
func (r *Repository) Manifest(ctx context.Context, reference string) (ocispec.Descriptor, []byte, error) {
	var desc ocispec.Descriptor
	var data []byte
	_, err := r.tryEndpoints(ctx, func(e endpoint) error {
		return retry(ctx, func() error {
			resp, err := r.send(ctx, e, http.MethodGet, "manifests/"+reference, http.Header{"Accept": {accept}}, nil, "pull")
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			if data, err = io.ReadAll(io.LimitReader(resp.Body, MaxManifest+1)); err != nil {
				return unreachable(ctx, err)
			}
			if len(data) > MaxManifest {
				return fmt.Errorf("read manifest %s: larger than %d bytes", reference, MaxManifest)
			}
			desc, err = describe(resp, reference, data)
			return err
		})
	})
	if err != nil {
		return ocispec.Descriptor{}, nil, fmt.Errorf("get manifest %s of %s/%s: %w", reference, r.host, r.path, err)
	}
	return desc, data, nil
}

func describe(resp *http.Response, reference string, data []byte) (ocispec.Descriptor, error) {
	desc := ocispec.Descriptor{Digest: digest.FromBytes(data), Size: int64(len(data))}
	want := digest.Digest(reference)
	if want.Validate() != nil {
		want = digest.Digest(resp.Header.Get("Docker-Content-Digest"))
	}
	if want != "" && want.Validate() == nil && want.Algorithm().Available() {
		if v := want.Algorithm().FromBytes(data); v != want {
			return desc, fmt.Errorf("%w: manifest is %s, not %s", ErrCorrupt, v, want)
		}
		desc.Digest = want
	}
	desc.MediaType, _, _ = strings.Cut(resp.Header.Get("Content-Type"), ";")
	return desc, nil
}

// Head describes a manifest without reading it. Registries that do not say the digest get asked for the whole.
func (r *Repository) Head(ctx context.Context, reference string) (ocispec.Descriptor, error) {
	var desc ocispec.Descriptor
	_, err := r.tryEndpoints(ctx, func(e endpoint) error {
		resp, err := r.send(ctx, e, http.MethodHead, "manifests/"+reference, http.Header{"Accept": {accept}}, nil, "pull")
		if err != nil {
			return err
		}
		resp.Body.Close()
		desc.Digest = digest.Digest(resp.Header.Get("Docker-Content-Digest"))
		desc.Size = resp.ContentLength
		desc.MediaType, _, _ = strings.Cut(resp.Header.Get("Content-Type"), ";")
		return nil
	})
	if err != nil {
		return desc, fmt.Errorf("look at manifest %s of %s/%s: %w", reference, r.host, r.path, err)
	}
	if desc.Digest.Validate() != nil {
		desc, _, err = r.Manifest(ctx, reference)
	}
	return desc, err
}

var errStalled = errors.New("no bytes for a minute")

// Stall is how long a download may be silent.
const Stall = time.Minute

// Download writes a blob's bytes from offset on to w, until size bytes are there. Faults are retried from where they happened; a download
// that gets on may meet any number of them, one that does not ends after five. onRetry is told of every new try, and how long it waits.
func (r *Repository) Download(ctx context.Context, d digest.Digest, offset, size int64, w io.Writer, onRetry func(err error, in time.Duration)) error {
	buf := make([]byte, 256<<10)
	wait := 250 * time.Millisecond
	for tries := 0; offset < size || size < 0; {
		before := offset
		var writeErr error
		_, err := r.tryEndpoints(ctx, func(e endpoint) error {
			if writeErr != nil {
				return writeErr
			}
			err := r.stream(ctx, e, d, &offset, size, w, buf)
			var we *writeError
			if errors.As(err, &we) {
				writeErr = err
			}
			return err
		})
		if writeErr != nil {
			return fmt.Errorf("download blob %s: %w", d, errors.Unwrap(writeErr))
		}
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if offset > before {
			tries, wait = 0, 250*time.Millisecond
		}
		var re *Error
		if tries++; tries >= 5 || errors.As(err, &re) && !re.temporary() && re.Status != http.StatusRequestedRangeNotSatisfiable || errors.Is(err, ErrCorrupt) {
			return fmt.Errorf("download blob %s of %s/%s: %w", d, r.host, r.path, err)
		}
		if onRetry != nil {
			onRetry(err, wait)
		}
		if sleep(ctx, wait) != nil {
			return context.Cause(ctx)
		}
		wait *= 2
	}
	return nil
}

type writeError struct{ err error }

func (e *writeError) Error() string { return e.err.Error() }
func (e *writeError) Unwrap() error { return e.err }

// stream reads one answer of one endpoint.
func (r *Repository) stream(ctx context.Context, e endpoint, d digest.Digest, offset *int64, size int64, w io.Writer, buf []byte) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	header := http.Header{}
	if *offset > 0 {
		header.Set("Range", "bytes="+strconv.FormatInt(*offset, 10)+"-")
	}
	resp, err := r.send(ctx, e, http.MethodGet, "blobs/"+d.String(), header, nil, "pull")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	skip := int64(0)
	if *offset > 0 {
		switch resp.StatusCode {
		case http.StatusPartialContent:
			if from, ok := rangeStart(resp.Header.Get("Content-Range")); !ok || from != *offset {
				return fmt.Errorf("%w: bad Content-Range %q", ErrUnreachable, resp.Header.Get("Content-Range"))
			}
		default:
			skip = *offset // the server sends it all again
		}
	}
	watch := time.AfterFunc(Stall, func() { cancel(errStalled) })
	defer watch.Stop()
	var last time.Time
	for {
		n, err := resp.Body.Read(buf)
		if now := time.Now(); now.Sub(last) > time.Second {
			watch.Reset(Stall)
			last = now
		}
		b := buf[:n]
		if skip > 0 {
			k := min(skip, int64(len(b)))
			skip -= k
			b = b[k:]
		}
		if size >= 0 && *offset+int64(len(b)) > size {
			return fmt.Errorf("%w: more than %d bytes", ErrCorrupt, size)
		}
		if len(b) > 0 {
			m, err := w.Write(b)
			*offset += int64(m)
			if err != nil {
				return &writeError{err}
			}
		}
		if err == io.EOF {
			if size >= 0 && *offset < size {
				return fmt.Errorf("%w: %w", ErrUnreachable, io.ErrUnexpectedEOF)
			}
			return nil
		}
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return fmt.Errorf("%w: %w", ErrUnreachable, err)
		}
	}
}

// rangeStart reads "bytes 5-9/10".
func rangeStart(h string) (int64, bool) {
	rest, ok := strings.CutPrefix(h, "bytes ")
	if !ok {
		return 0, false
	}
	from, _, ok := strings.Cut(rest, "-")
	n, err := strconv.ParseInt(from, 10, 64)
	return n, ok && err == nil
}

// ReadBlob reads a small blob, verified.
func (r *Repository) ReadBlob(ctx context.Context, d digest.Digest, limit int64) ([]byte, error) {
	var b bytes.Buffer
	if err := r.Download(ctx, d, 0, -1, &limited{&b, limit}, nil); err != nil {
		return nil, err
	}
	if v := d.Verifier(); true {
		v.Write(b.Bytes())
		if !v.Verified() {
			return nil, fmt.Errorf("read blob %s: %w", d, ErrCorrupt)
		}
	}
	return b.Bytes(), nil
}

type limited struct {
	w    io.Writer
	left int64
}

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= int64(len(p)); l.left < 0 {
		return 0, errors.New("blob is too large")
	}
	return l.w.Write(p)
}
