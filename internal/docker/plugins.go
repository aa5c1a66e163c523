package docker

import (
	"net/http"

	"github.com/distribution/reference"
)

// listPlugins answers GET /plugins: there are none.
func (s *Server) listPlugins(c *call) error { return c.json(http.StatusOK, []any{}) }

// refusePlugin answers what would bring a plugin here.
func (s *Server) refusePlugin(c *call) error {
	return fail(http.StatusNotImplemented, "plugins cannot be installed: the volume, network and log drivers are built in; remove the plugin from what you run")
}

// pullPlugin judges what is asked for before it refuses.
func (s *Server) pullPlugin(c *call) error {
	if _, err := reference.ParseNormalizedNamed(c.get("remote")); err != nil {
		return badRequest("%v", err)
	}
	return s.refusePlugin(c)
}

// missingPlugin answers what names a plugin: none is here.
func (s *Server) missingPlugin(c *call) error {
	return notFound("plugin %q not found", c.vars["name"])
}
