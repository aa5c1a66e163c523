package docker

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/registry"

	"nau/internal/engine/image"
	"nau/internal/engine/image/remote"
)

// searchImages answers GET /images/search from a registry's /v1/search.
func (s *Server) searchImages(c *call) error {
	f, err := parseFilters(c.get("filters"), "is-automated", "is-official", "stars")
	if err != nil {
		return err
	}
	limit, err := c.number("limit", 25)
	if err != nil || limit < 0 || limit > 100 {
		return badRequest("limit %d is outside the range of [1, 100]", limit)
	}
	if limit == 0 {
		limit = 25
	}
	pass, err := searchFilter(f)
	if err != nil {
		return err
	}
	host, rest := "docker.io", c.get("term")
	if strings.HasPrefix(rest, "http://") || strings.HasPrefix(rest, "https://") {
		return badRequest("invalid repository name: repository name (%s) should not have a scheme", rest)
	}
	if first, after, ok := strings.Cut(rest, "/"); ok && (strings.ContainsAny(first, ".:") || first == "localhost") {
		host, rest = first, after
	}
	auth := image.Auth{}
	if a := credentials(c.Header.Get(registry.AuthHeader)); a != nil {
		auth = *a
	}
	client := remote.New(s.e.Config().Registries)
	defer client.Close()
	b, err := client.Search(c.ctx(), host, rest, limit, auth)
	if err != nil {
		var refused *remote.Error
		if errors.As(err, &refused) {
			return fail(http.StatusInternalServerError, "unexpected status code %d", refused.Status)
		}
		var unreached *url.Error
		if errors.As(err, &unreached) {
			return unreached // which names the address that was asked
		}
		return err
	}
	var found registry.SearchResults
	if err := json.Unmarshal(b, &found); err != nil {
		return fail(http.StatusInternalServerError, "error parsing search results: %v", err)
	}
	out := []registry.SearchResult{}
	for _, r := range found.Results {
		if pass(r) && len(out) < limit {
			r.IsAutomated = false //nolint:staticcheck // as no repository is, any more: what old registries say does not count
			out = append(out, r)
		}
	}
	return c.json(http.StatusOK, out)
}

// searchFilter reads the conditions once.
func searchFilter(f filters) (func(registry.SearchResult) bool, error) {
	official, err := f.boolean("is-official", false)
	if err != nil {
		return nil, err
	}
	automated, err := f.boolean("is-automated", false) // no repository is, any more
	if err != nil {
		return nil, err
	}
	stars := 0
	for _, v := range f["stars"] {
		n, err := strconv.Atoi(v)
		if err != nil {
			return nil, badRequest("invalid filter 'stars=%s': %v", v, err)
		}
		stars = max(stars, n)
	}
	return func(r registry.SearchResult) bool {
		return (len(f["is-official"]) == 0 || r.IsOfficial == official) && !automated && r.StarCount >= stars
	}, nil
}
