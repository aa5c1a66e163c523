package remote

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// maxTagPages bounds how long a list of tags is followed.
const maxTagPages = 1000

// Tags lists a repository's tags, page after page. Source: distribution-spec, "Listing Tags".
func (r *Repository) Tags(ctx context.Context) ([]string, error) {
	var all []string
	_, err := r.tryEndpoints(ctx, func(e endpoint) error {
		all = nil
		u := r.url(e, "tags/list")
		for range maxTagPages {
			resp, err := r.sendURL(ctx, e, http.MethodGet, u, nil, nil, "pull")
			if err != nil {
				return err
			}
			var page struct{ Tags []string }
			err = json.NewDecoder(io.LimitReader(resp.Body, MaxManifest)).Decode(&page)
			resp.Body.Close()
			if err != nil {
				return fmt.Errorf("read tags: %w", err)
			}
			all = append(all, page.Tags...)
			next, ok := nextPage(u, resp.Header.Get("Link"))
			if !ok {
				return nil
			}
			u = next
		}
		return fmt.Errorf("read tags: more than %d pages", maxTagPages)
	})
	if err != nil {
		return nil, fmt.Errorf("list tags of %s/%s: %w", r.host, r.path, err)
	}
	return all, nil
}

// nextPage reads a Link header: `</v2/…?last=x>; rel="next"`. A page elsewhere is not followed: credentials would travel with it.
func nextPage(from *url.URL, link string) (*url.URL, bool) {
	target, params, ok := strings.Cut(strings.TrimPrefix(link, "<"), ">")
	if !ok || !strings.HasPrefix(link, "<") || !strings.Contains(params, `rel="next"`) && !strings.Contains(params, "rel=next") {
		return nil, false
	}
	next, err := from.Parse(target)
	if err != nil || next.Host != from.Host || next.Scheme != from.Scheme {
		return nil, false
	}
	return next, true
}
