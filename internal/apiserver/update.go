package apiserver

import (
	"context"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"nau/internal/store"
)

// update answers PUT of an object, or of one of its subresources that have its own shape (status).
func (c *call) update() error {
	w, err := c.writer("UpdateOptions")
	if err != nil {
		return err
	}
	sent, err := c.decodeBody(c.ep.ver.New, c.ep.gvk, w.writeOptions)
	if err != nil {
		return err
	}
	m, err := meta.Accessor(sent)
	if err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	if err := c.nameMatches(m); err != nil {
		return err
	}
	if c.ep.ver.Default != nil {
		c.ep.ver.Default(sent)
	}
	if err := c.settleNamespace(m); err != nil {
		return err
	}
	dedupOwners(c, m)
	w.preconditionUID = m.GetUID()

	first := true
	take := func() runtime.Object { // the first attempt needs no copy
		if first {
			first = false
			if m.GetResourceVersion() != "" {
				return sent // a conflict will not be tried again
			}
		}
		return sent.DeepCopyObject()
	}
	manager := c.owner(w.manager)
	subresource := ""
	if c.sub != nil {
		subresource = c.sub.Name
	}
	do := func(_ context.Context, old *store.Entry) (runtime.Object, error) {
		return c.ep.toStorage(c.ep.track(old.Object, take(), subresource, manager))
	}
	var absent func(context.Context) (runtime.Object, error)
	if c.ep.res.Strategy.CreateOnUpdate && c.sub == nil {
		absent = func(context.Context) (runtime.Object, error) {
			obj := sent.DeepCopyObject()
			if m.GetUID() != "" {
				return nil, uidMismatch(c, m)
			}
			return c.ep.toStorage(c.ep.track(nil, obj, "", manager))
		}
	}
	e, created, err := w.update(c.ctx, c.info.Name, do, absent)
	if err != nil {
		return err
	}
	if created {
		return c.respondEntry(http.StatusCreated, e)
	}
	return c.respondEntry(http.StatusOK, e)
}

func uidMismatch(c *call, m metav1.Object) error {
	return apierrors.NewConflict(c.gr(), c.info.Name, fmt.Errorf("uid mismatch: the provided object specified uid %s, and no existing object was found", m.GetUID()))
}

// nameMatches checks the body's name against the URL's; an empty one is filled.
func (c *call) nameMatches(m metav1.Object) error {
	switch m.GetName() {
	case c.info.Name:
	case "":
		m.SetName(c.info.Name)
	default:
		return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", m.GetName(), c.info.Name))
	}
	return nil
}

// dedupOwners drops owner references that occur twice, with a warning.
func dedupOwners(c *call, m metav1.Object) {
	refs := m.GetOwnerReferences()
	if len(refs) < 2 {
		return
	}
	var out []metav1.OwnerReference
	seen := map[string]bool{}
	for _, r := range refs {
		id := fmt.Sprintf("%s/%s/%s/%s/%t/%t", r.APIVersion, r.Kind, r.Name, r.UID, r.Controller != nil && *r.Controller, r.BlockOwnerDeletion != nil && *r.BlockOwnerDeletion)
		if seen[id] {
			c.warn(fmt.Sprintf(".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: %s", r.UID))
			continue
		}
		seen[id] = true
		out = append(out, r)
	}
	if len(out) < len(refs) {
		m.SetOwnerReferences(out)
	}
}
