package remote

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
)

// hubSearch is where Docker Hub searches: not at the host of its repositories.
const hubSearch = "index.docker.io"

// Search asks a registry, its mirrors first, for repositories by the words of a term, and gives its answer: the document of /v1/search.
func (c *Client) Search(ctx context.Context, host, term string, limit int, auth Auth) ([]byte, error) {
	r, err := c.Repository(host, "", auth)
	if err != nil {
		return nil, err
	}
	var out []byte
	_, err = r.tryEndpoints(ctx, func(e endpoint) error {
		u := e.base
		if u.Host == "registry-1.docker.io" {
			u.Host = hubSearch
		}
		u.Path += "/v1/search"
		u.RawQuery = "q=" + url.QueryEscape(term) + "&n=" + strconv.Itoa(limit)
		resp, err := r.sendURL(ctx, e, http.MethodGet, &u, nil, nil, "")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if out, err = io.ReadAll(io.LimitReader(resp.Body, 8<<20)); err != nil {
			return fmt.Errorf("read search results of %s: %w", host, err)
		}
		return nil
	})
	return out, err
}
