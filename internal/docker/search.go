package docker

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/moby/moby/api/types/registry"
)

// search asks a registry, or its mirrors, for images.
func (s *Server) search(ctx context.Context, host, term string, limit int) ([]registry.SearchResult, error) {
	bases := append([]string{}, s.e.Config().Registries.Mirrors[host]...)
	switch {
	case host == "docker.io":
		bases = append(bases, "https://index.docker.io")
	default:
		scheme := "https://"
		name, _, _ := strings.Cut(host, ":")
		if a, err := netip.ParseAddr(name); name == "localhost" || err == nil && a.IsLoopback() {
			scheme = "http://"
		}
		bases = append(bases, scheme+host)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var last error
	for _, base := range bases {
		u := strings.TrimSuffix(base, "/") + "/v1/search?q=" + url.QueryEscape(term) + fmt.Sprintf("&n=%d", limit)
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
		if err != nil {
			return nil, err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			last = fail(http.StatusInternalServerError, "Get %q: %v", u, err)
			continue
		}
		body, err := io.ReadAll(io.LimitReader(resp.Body, 8<<20))
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			last = fail(http.StatusInternalServerError, "Unexpected status code %d", resp.StatusCode)
			continue
		}
		var found registry.SearchResults
		if err := json.Unmarshal(body, &found); err != nil {
			last = fail(http.StatusInternalServerError, "error parsing search results: %v", err)
			continue
		}
		return found.Results, nil
	}
	return nil, last
}
