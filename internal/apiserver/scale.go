package apiserver

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nau/internal/api"
	"nau/internal/apiserver/wire"
	"nau/internal/store"
)

// scale answers the scale subresource: one number of the object in the shape that autoscalers know.
func (c *call) scale() error {
	gvk := c.subGVK()
	if c.info.Verb == "get" {
		e, err := c.read()
		if err != nil {
			return err
		}
		sc, err := c.scaleOf(e.Object)
		if err != nil {
			return err
		}
		return c.respondObject(http.StatusOK, sc, gvk)
	}
	var w *writing
	var next func(present *autoscalingv1.Scale) (*autoscalingv1.Scale, error)
	if c.info.Verb == "update" {
		var err error
		if w, err = c.writer("UpdateOptions"); err != nil {
			return err
		}
		body, err := c.decodeBody(c.sub.New, gvk, w.writeOptions)
		if err != nil {
			return err
		}
		sent := body.(*autoscalingv1.Scale)
		if err := c.nameMatches(sent); err != nil {
			return err
		}
		next = func(*autoscalingv1.Scale) (*autoscalingv1.Scale, error) { return sent, nil }
	} else {
		var err error
		if w, err = c.writer("PatchOptions"); err != nil {
			return err
		}
		data, err := c.body()
		if err != nil {
			return err
		}
		kind := patchType(c.r.Header.Get("Content-Type"))
		next = func(present *autoscalingv1.Scale) (*autoscalingv1.Scale, error) {
			return patchScale(kind, data, present)
		}
	}
	manager := c.owner(w.manager)
	do := func(_ context.Context, old *store.Entry) (runtime.Object, error) {
		present, err := c.scaleOf(old.Object)
		if err != nil {
			return nil, err
		}
		sc, err := next(present)
		if err != nil {
			return nil, err
		}
		if sc.Spec.Replicas < 0 {
			return nil, apierrors.NewInvalid(gvk.GroupKind(), c.info.Name, field.ErrorList{
				field.Invalid(field.NewPath("spec", "replicas"), sc.Spec.Replicas, "must be greater than or equal to 0")})
		}
		if sc.UID != "" && sc.UID != present.UID {
			return nil, apierrors.NewConflict(c.gr(), c.info.Name, fmt.Errorf("Precondition failed: UID in precondition: %v, UID in object meta: %v", sc.UID, present.UID))
		}
		obj := old.Object.DeepCopyObject()
		c.sub.Scale.Set(obj, sc.Spec.Replicas)
		m, err := meta.Accessor(obj)
		if err != nil {
			return nil, err
		}
		m.SetResourceVersion("")
		if c.info.Verb == "update" || sc.ResourceVersion != present.ResourceVersion {
			m.SetResourceVersion(sc.ResourceVersion)
		}
		v, err := c.ep.toVersion(obj)
		if err != nil {
			return nil, err
		}
		return c.ep.toStorage(c.ep.track(old.Object, v, "scale", manager))
	}
	// What is validated is the object as through its main endpoint.
	sub := c.sub
	if sub.PrepareUpdate == nil {
		c.sub = nil
		w.scaled = sub
		defer func() { c.sub = sub }()
		outer := do
		do = func(ctx context.Context, old *store.Entry) (runtime.Object, error) {
			c.sub = sub
			defer func() { c.sub = nil }()
			return outer(ctx, old)
		}
	}
	e, _, err := w.update(c.ctx, c.info.Name, do, nil)
	if err != nil {
		return err
	}
	c.sub = sub
	sc, err := c.scaleOf(e.Object)
	if err != nil {
		return err
	}
	return c.respondObject(http.StatusOK, sc, gvk)
}

func (c *call) scaleOf(obj runtime.Object) (*autoscalingv1.Scale, error) { return scaleOf(c.sub, obj) }

// scaleOf is the Scale of an object of the stored shape.
func scaleOf(sub *api.Subresource, obj runtime.Object) (*autoscalingv1.Scale, error) {
	spec, status, err := sub.Scale.Get(obj)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	sc := &autoscalingv1.Scale{Spec: spec, Status: status}
	sc.Name, sc.Namespace, sc.UID = m.GetName(), m.GetNamespace(), m.GetUID()
	sc.ResourceVersion, sc.CreationTimestamp = m.GetResourceVersion(), m.GetCreationTimestamp()
	return sc, nil
}

func patchScale(kind types.PatchType, data []byte, present *autoscalingv1.Scale) (*autoscalingv1.Scale, error) {
	present.Kind, present.APIVersion = "Scale", "autoscaling/v1"
	doc, err := json.Marshal(present)
	if err != nil {
		return nil, err
	}
	var out []byte
	switch kind {
	case types.JSONPatchType:
		ops, err := jsonpatch.DecodePatch(data)
		if err != nil {
			return nil, apierrors.NewBadRequest("error decoding patch: " + err.Error())
		}
		if out, err = ops.Apply(doc); err != nil {
			return nil, apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", schema.GroupResource{}, "", err.Error(), 0, false)
		}
	case types.MergePatchType:
		if out, err = jsonpatch.MergePatch(doc, data); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
	case types.StrategicMergePatchType:
		if out, err = strategicpatch.StrategicMergePatch(doc, data, autoscalingv1.Scale{}); err != nil {
			return nil, strategicError(err)
		}
	default:
		return nil, unsupportedMedia(string(types.JSONPatchType), string(types.MergePatchType), string(types.StrategicMergePatchType))
	}
	sc := &autoscalingv1.Scale{}
	if _, err := wire.DecodeJSON(out, sc, wire.Ignore); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	return sc, nil
}
