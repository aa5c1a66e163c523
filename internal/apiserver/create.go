package apiserver

import (
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
)

// create answers POST on a collection.
func (c *call) create() error {
	w, err := c.writer("CreateOptions")
	if err != nil {
		return err
	}
	obj, err := c.decodeBody(c.ep.ver.New, c.ep.gvk, w.writeOptions)
	if err != nil {
		return err
	}
	m, err := meta.Accessor(obj)
	if err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	if c.ep.ver.Default != nil {
		c.ep.ver.Default(obj)
	}
	if err := c.settleNamespace(m); err != nil {
		return err
	}
	dedupOwners(c, m)
	obj = c.ep.track(nil, obj, "", c.owner(w.manager))
	if obj, err = c.ep.toStorage(obj); err != nil {
		return err
	}
	e, err := w.create(c.ctx, obj)
	if err != nil {
		return err
	}
	return c.respondEntry(http.StatusCreated, e)
}
