package remote

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// home is the registry itself: pushes never go to a mirror.
func (r *Repository) home(ctx context.Context, f func(endpoint) error) error {
	own := *r
	own.endpoints = nil
	for _, e := range r.endpoints {
		if e.mirror == "" {
			own.endpoints = append(own.endpoints, e)
		}
	}
	_, err := own.tryEndpoints(ctx, f)
	return err
}

const pushScope = "pull,push"

// HasBlob tells whether the repository has a blob.
func (r *Repository) HasBlob(ctx context.Context, d digest.Digest) (bool, error) {
	found := false
	err := r.home(ctx, func(e endpoint) error {
		resp, err := r.send(ctx, e, http.MethodHead, "blobs/"+d.String(), nil, nil, pushScope)
		if re := (*Error)(nil); asError(err, &re) && re.Status == http.StatusNotFound {
			found = false
			return nil
		}
		if err != nil {
			return err
		}
		resp.Body.Close()
		found = true
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("look for blob %s in %s/%s: %w", d, r.host, r.path, err)
	}
	return found, nil
}

// Upload sends a blob in one piece. mountFrom, if not "", is a repository of the same registry that may have it; open gives the bytes, once per
// try. The answer tells whether it was mounted.
func (r *Repository) Upload(ctx context.Context, desc ocispec.Descriptor, mountFrom string, open func() (io.ReadCloser, error)) (mounted bool, err error) {
	err = r.home(ctx, func(e endpoint) error {
		return retry(ctx, func() error {
			mounted, err = r.upload(ctx, e, desc, mountFrom, open)
			return err
		})
	})
	if err != nil {
		return false, fmt.Errorf("upload blob %s to %s/%s: %w", desc.Digest, r.host, r.path, err)
	}
	return mounted, nil
}

func (r *Repository) upload(ctx context.Context, e endpoint, desc ocispec.Descriptor, mountFrom string, open func() (io.ReadCloser, error)) (bool, error) {
	start := r.url(e, "blobs/uploads/")
	q := start.Query()
	q.Set("mount", desc.Digest.String())
	if mountFrom != "" && mountFrom != r.path {
		q.Set("from", mountFrom)
	}
	start.RawQuery = q.Encode()
	empty := func() (io.Reader, int64) { return nil, 0 }
	resp, err := r.sendURL(ctx, e, http.MethodPost, start, nil, empty, pushScope)
	if err != nil {
		return false, err
	}
	resp.Body.Close()
	if resp.StatusCode == http.StatusCreated {
		return true, nil
	}
	loc, err := resp.Request.URL.Parse(resp.Header.Get("Location"))
	if err != nil || resp.Header.Get("Location") == "" {
		return false, fmt.Errorf("start upload: bad Location %q", resp.Header.Get("Location"))
	}
	if loc.Host != resp.Request.URL.Host && loc.Scheme != "https" && !r.c.insecure(loc.Host) {
		return false, fmt.Errorf("start upload: Location %q is not HTTPS", loc.Host)
	}
	var bodies []io.Closer
	defer func() {
		for _, b := range bodies {
			b.Close()
		}
	}()
	var failed error
	body := func() (io.Reader, int64) {
		rc, err := open()
		if err != nil {
			failed = err
			return http.NoBody, 0
		}
		bodies = append(bodies, rc)
		return rc, desc.Size
	}
	put := *loc
	q = put.Query()
	q.Set("digest", desc.Digest.String())
	put.RawQuery = q.Encode()
	resp, err = r.sendURL(ctx, e, http.MethodPut, &put, http.Header{"Content-Type": {"application/octet-stream"}}, body, pushScope)
	if failed != nil {
		return false, failed
	}
	if err != nil {
		return false, err
	}
	resp.Body.Close()
	return false, nil
}

// PutManifest sends a manifest under a tag or its digest.
func (r *Repository) PutManifest(ctx context.Context, reference string, desc ocispec.Descriptor, data []byte) error {
	err := r.home(ctx, func(e endpoint) error {
		return retry(ctx, func() error {
			header := http.Header{"Content-Type": {desc.MediaType}, "Content-Length": {strconv.Itoa(len(data))}}
			resp, err := r.send(ctx, e, http.MethodPut, "manifests/"+url.PathEscape(reference), header, func() (io.Reader, int64) { return bytes.NewReader(data), int64(len(data)) }, pushScope)
			if err != nil {
				return err
			}
			resp.Body.Close()
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("put manifest %s to %s/%s: %w", reference, r.host, r.path, err)
	}
	return nil
}
