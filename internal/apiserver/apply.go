package apiserver

import (
	"context"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"nau/internal/apiserver/wire"
	"nau/internal/store"
)

// apply answers a server-side apply: the fields that the manager declares are merged into the object, those that it declared
// before and no more are removed, and fields of other managers are conflicts unless forced (API docs, "Server-Side Apply").
func (c *call) apply(w *writing, data []byte, subresource string) error {
	doc, found, err := wire.ToJSON(data, w.strictness())
	if err != nil {
		return apierrors.NewBadRequest(fmt.Sprintf("error decoding YAML: %v", err))
	}
	declared := &unstructured.Unstructured{Object: map[string]any{}}
	more, err := wire.DecodeJSON(doc, declared, w.strictness())
	if err != nil {
		return apierrors.NewBadRequest(fmt.Sprintf("error decoding YAML: %v", err))
	}
	if err := c.judgePatch(append(found, more...), w.writeOptions); err != nil {
		return err
	}
	if err := c.judgeApplied(declared, w.writeOptions); err != nil {
		return err
	}
	if declared.GetName() == "" {
		declared.SetName(c.info.Name)
	}
	if declared.GetName() != c.info.Name {
		return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", declared.GetName(), c.info.Name))
	}
	force := w.force != nil && *w.force
	fm, err := c.ep.fieldManager(subresource)
	if err != nil {
		return err
	}
	merge := func(live runtime.Object) (runtime.Object, error) {
		before, err := c.ep.before(live)
		if err != nil {
			return nil, err
		}
		if live == nil {
			m, err := meta.Accessor(before)
			if err != nil {
				return nil, err
			}
			m.SetName(c.info.Name)
			m.SetNamespace(c.namespace())
		}
		out, err := fm.Apply(before, declared.DeepCopy(), w.manager, force)
		if err != nil {
			return nil, applyError(err)
		}
		if err := c.settleCustom(out, writeOptions{validation: metav1.FieldValidationIgnore}); err != nil {
			return nil, err
		}
		if _, free := out.(runtime.Unstructured); free && !c.ep.schemaless {
			conv := &converter{ep: c.ep}
			if out, err = conv.typed(out, c.ep.gvk); err != nil {
				return nil, err
			}
		}
		if live != nil {
			m, err := meta.Accessor(out)
			if err != nil {
				return nil, err
			}
			if declared.GetResourceVersion() == "" {
				m.SetResourceVersion("")
			}
			if c.ep.ver.Default != nil {
				c.ep.ver.Default(out)
			}
			return c.fromHub(out)
		}
		if c.ep.ver.Default != nil {
			c.ep.ver.Default(out)
		}
		return c.fromHub(out)
	}
	do := func(_ context.Context, old *store.Entry) (runtime.Object, error) { return merge(old.Object) }
	var absent func(context.Context) (runtime.Object, error)
	if c.sub == nil {
		absent = func(context.Context) (runtime.Object, error) {
			if uid := declared.GetUID(); uid != "" {
				return nil, uidMismatch(c, declared)
			}
			obj, err := merge(nil)
			if err != nil {
				return nil, err
			}
			if m, err := meta.Accessor(obj); err == nil && m.GetResourceVersion() != "" {
				return nil, apierrors.NewConflict(c.gr(), c.info.Name, errModified)
			}
			return obj, nil
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

// fromHub takes the field manager's result, which has the stored version, to the stored shape.
func (c *call) fromHub(obj runtime.Object) (runtime.Object, error) {
	conv := &converter{ep: c.ep}
	have := obj.GetObjectKind().GroupVersionKind()
	source := conv.sibling(have)
	if source == nil {
		source = c.ep
	}
	return source.toStorage(obj)
}

// judgeApplied finds unknown fields of built-in kinds. Those of custom kinds are refused by the merge, as upstream: it has
// their schema.
func (c *call) judgeApplied(declared *unstructured.Unstructured, o writeOptions) error {
	if c.ep.schemaless || o.strictness() == wire.Ignore {
		return nil
	}
	probe := c.ep.ver.New()
	err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(declared.Object, probe, true)
	if found, ok := strictErrors(err); ok {
		return c.judge(found, c.ep.gvk, c.ep.gvk.Kind, o)
	}
	return nil
}

func applyError(err error) error {
	if _, ok := err.(apierrors.APIStatus); ok {
		return err
	}
	// It is the client's document that cannot be merged, or is none. Upstream gives no reason, so that clients show the text as it is.
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusBadRequest, Message: err.Error()}}
}
