package apiserver

import (
	"context"
	"errors"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nau/internal/apiserver/admission"
	"nau/internal/store"
)

// delete answers DELETE of one object.
func (c *call) delete() error {
	o, err := c.parseDeleteOptions()
	if err != nil {
		return err
	}
	e, gone, err := c.remove(c.ctx, c.namespace(), c.info.Name, o)
	if err != nil {
		return err
	}
	if !gone || returnsDeleted[c.ep.gr.String()] {
		code := http.StatusOK
		if !gone && o.OrphanDependents != nil && !*o.OrphanDependents {
			code = http.StatusAccepted
		}
		return c.respondEntry(code, e)
	}
	return c.respondObject(http.StatusOK, deletedStatus(c, e), statusGVK)
}

func deletedStatus(c *call, e *store.Entry) *metav1.Status {
	st := &metav1.Status{Status: metav1.StatusSuccess, Details: &metav1.StatusDetails{Name: c.info.Name, Group: c.gr().Group, Kind: c.gr().Resource}}
	if m, err := meta.Accessor(e.Object); err == nil {
		st.Details.Name, st.Details.UID = m.GetName(), m.GetUID()
	}
	return st
}

// returnsDeleted are the resources whose DELETE answers with the last state; the others answer with a Status.
var returnsDeleted = map[string]bool{
	"pods": true, "podtemplates": true, "resourcequotas": true, "serviceaccounts": true, "services": true,
	"persistentvolumes": true, "persistentvolumeclaims": true,
	"csidrivers.storage.k8s.io": true, "csinodes.storage.k8s.io": true, "storageclasses.storage.k8s.io": true, "volumeattachments.storage.k8s.io": true,
	"volumeattributesclasses.storage.k8s.io": true,
}

// remove carries a deletion out until it holds against what the object is by then. gone tells whether the object has left the
// store; otherwise e is the state that waits for finalizers or for its grace period.
func (c *call) remove(ctx context.Context, namespace, name string, o *metav1.DeleteOptions) (e *store.Entry, gone bool, err error) {
	key := c.ep.key(namespace, name)
	dryRun := len(o.DryRun) > 0
	w := c.writing(writeOptions{dryRun: dryRun}, "")
	for try := 0; ; try++ {
		old, err := c.ep.open().Get(ctx, key, 0)
		if err != nil {
			return nil, false, translate(err, c.gr(), name)
		}
		attr := w.attributes(admission.Delete, name, nil, old.Object)
		attr.Options, attr.Namespace = o, namespace
		if err := c.srv.admission.Admit(ctx, attr); err != nil {
			return nil, false, err
		}
		if err := c.srv.admission.Validate(ctx, attr); err != nil {
			return nil, false, err
		}
		plan, err := decideDeletion(c.srv.now().Time, &c.ep.res.Strategy, old.Object, o)
		if err != nil {
			var pre preconditionFailed
			if errors.As(err, &pre) {
				return nil, false, apierrors.NewConflict(c.gr(), name, err)
			}
			return nil, false, err
		}
		switch {
		case plan.next == nil && !plan.remove:
			return old, false, nil
		case dryRun && plan.remove:
			return old, true, nil
		case dryRun:
			return &store.Entry{Key: key, Object: plan.next, Revision: old.Revision}, false, nil
		case plan.remove:
			e, err = c.ep.open().Delete(ctx, key, old.Revision)
			if err == nil && c.ep.hooks != nil {
				c.ep.hooks.deleted(old.Object)
			}
			gone = true
		default:
			e, err = w.put(ctx, key, old.Revision, plan.next)
			gone = false
		}
		c.srv.admission.Settle(ctx, attr, err)
		if errors.Is(err, store.ErrConflict) && try < attempts && ctx.Err() == nil {
			continue
		}
		return e, gone, translate(err, c.gr(), name)
	}
}

// deleteCollection answers DELETE of a collection: each object that the selectors match, one after the other.
func (c *call) deleteCollection() error {
	o, err := c.parseDeleteOptions()
	if err != nil {
		return err
	}
	lo, err := c.parseListOptions(false)
	if err != nil {
		return err
	}
	page, err := c.page(lo)
	if err != nil {
		return err
	}
	page = &store.Page{Entries: append([]*store.Entry(nil), page.Entries...), Revision: page.Revision, Continue: page.Continue, Remaining: page.Remaining}
	for i, e := range page.Entries {
		m, err := meta.Accessor(e.Object)
		if err != nil {
			return err
		}
		each := o.DeepCopy()
		after, _, err := c.remove(c.ctx, m.GetNamespace(), m.GetName(), each)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return err
		}
		page.Entries[i] = after
	}
	return c.respondPage(page)
}
