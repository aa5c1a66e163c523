package apiserver

import (
	"net/http"

	"nau/internal/store"
)

// get answers GET of one object: from the watch cache, as fresh as resourceVersion asks for (unset: most recent; 0: whatever
// is there; N: not older than N).
func (c *call) get() error {
	e, err := c.read()
	if err != nil {
		return err
	}
	return c.respondEntry(http.StatusOK, e)
}

func (c *call) read() (*store.Entry, error) {
	var min int64
	if len(c.query) > 0 {
		if rv := c.query.Get("resourceVersion"); rv != "" {
			var err error
			if min, err = parseRevision(rv); err != nil {
				return nil, err
			}
			if min == 0 {
				min = -1
			}
		}
	}
	return c.ep.open().Get(c.ctx, c.ep.key(c.namespace(), c.info.Name), min)
}
