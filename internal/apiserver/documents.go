package apiserver

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// documents answers the paths that name no resource.
func (s *Server) documents(c *call) error {
	path := c.info.Path
	if h := s.Paths[path]; h != nil {
		h.ServeHTTP(c.w, c.r.WithContext(c.ctx))
		return nil
	}
	switch c.r.Method {
	case http.MethodGet, http.MethodHead:
	default:
		notFoundPage(c)
		return nil
	}
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	switch first {
	case "":
		return c.respondJSON(metav1.RootPaths{Paths: s.paths()})
	case "api", "apis":
		return s.discovery(c)
	case "version":
		return c.respondJSON(s.Version)
	case "healthz", "livez", "readyz":
		return s.health.serve(c, first)
	case "metrics":
		promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{}).ServeHTTP(c.w, c.r)
		return nil
	case "openapi":
		return s.openapi(c)
	}
	notFoundPage(c)
	return nil
}

func (c *call) respondJSON(v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return c.respondBytes(http.StatusOK, "application/json", b)
}
