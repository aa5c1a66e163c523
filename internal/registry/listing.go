package registry

import (
	"encoding/json"
	"net/http"
	"net/url"
	"sort"
	"strconv"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"nau/internal/engine/image/remote"
)

// page cuts a sorted list as "n" and "last" ask, and sets the Link header to the next page (RFC 5988; distribution-spec, "Listing Tags").
func page(w http.ResponseWriter, r *http.Request, all []string) ([]string, error) {
	q := r.URL.Query()
	if last := q.Get("last"); last != "" {
		all = all[sort.Search(len(all), func(i int) bool { return all[i] > last }):]
	}
	if s := q.Get("n"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 {
			return nil, fault(http.StatusBadRequest, "PAGINATION_NUMBER_INVALID", "invalid number of results", s)
		}
		if n < len(all) {
			all = all[:n]
			if n > 0 {
				next := url.Values{"n": {s}, "last": {all[n-1]}}
				w.Header().Set("Link", "<"+r.URL.Path+"?"+next.Encode()+`>; rel="next"`)
			}
		}
	}
	if all == nil {
		all = []string{}
	}
	return all, nil
}

func writeJSON(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	return ignoreGone(json.NewEncoder(w).Encode(v))
}

func (q *request) listTags() error {
	if !q.repo.exists() {
		return fault(http.StatusNotFound, "NAME_UNKNOWN", "repository name not known to registry", map[string]string{"name": q.repo.name})
	}
	tags, err := q.repo.list("_tags", "tag-")
	if err != nil {
		return err
	}
	if tags, err = page(q.w, q.r, tags); err != nil {
		return err
	}
	return writeJSON(q.w, map[string]any{"name": q.repo.name, "tags": tags})
}

func (g *Registry) catalog(w http.ResponseWriter, r *http.Request) error {
	names, err := g.repositories()
	if err != nil {
		return err
	}
	if names, err = page(w, r, names); err != nil {
		return err
	}
	return writeJSON(w, map[string]any{"repositories": names})
}

// searchResult is one row of docker search; the shape is docker's registry v1 search answer.
type searchResult struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	StarCount   int    `json:"star_count"`
	IsOfficial  bool   `json:"is_official"`
	IsAutomated bool   `json:"is_automated"`
}

// search finds repositories whose name or description has the words. What stands under library/ is official, as at Docker Hub.
func (g *Registry) search(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	words := strings.Fields(strings.ToLower(q.Get("q")))
	limit, err := strconv.Atoi(q.Get("n"))
	if err != nil || limit <= 0 || limit > 100 {
		limit = 25
	}
	names, err := g.repositories()
	if err != nil {
		return err
	}
	results := []searchResult{}
	for _, n := range names {
		short, official := strings.CutPrefix(n, "library/")
		res := searchResult{Name: short, IsOfficial: official, Description: g.description(g.repository(n))}
		text := strings.ToLower(n + " " + res.Description)
		match := true
		for _, word := range words {
			match = match && strings.Contains(text, strings.TrimPrefix(word, "library/"))
		}
		if match {
			results = append(results, res)
		}
	}
	total := len(results)
	results = results[:min(limit, total)]
	return writeJSON(w, map[string]any{"query": q.Get("q"), "num_results": total, "num_pages": 1, "page": 1, "page_size": limit, "results": results})
}

// description is the annotation or label that says what an image is; "" if nothing does.
func (g *Registry) description(repo repository) string {
	ref := "latest"
	if !repo.has("_tags", "tag-latest") {
		tags, err := repo.list("_tags", "tag-")
		if err != nil || len(tags) == 0 {
			return ""
		}
		ref = tags[0]
	}
	for range 3 { // index, manifest, config
		d, _, err := repo.resolve(ref)
		if err != nil {
			return ""
		}
		b, err := g.cfg.Content.ReadAll(d, remote.MaxManifest)
		if err != nil {
			return ""
		}
		var m manifestParts
		if json.Unmarshal(b, &m) != nil {
			return ""
		}
		if s := m.Annotations[ocispec.AnnotationDescription]; s != "" {
			return s
		}
		if m.Config != nil {
			var c ocispec.Image
			if b, err := g.cfg.Content.ReadAll(m.Config.Digest, remote.MaxManifest); err == nil && json.Unmarshal(b, &c) == nil {
				return c.Config.Labels[ocispec.AnnotationDescription]
			}
			return ""
		}
		if len(m.Manifests) == 0 {
			return ""
		}
		ref = m.Manifests[0].Digest.String()
	}
	return ""
}
