package apiserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/mergepatch"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"

	"nau/internal/apiserver/model"
	"nau/internal/apiserver/wire"
	"nau/internal/store"
)

// maxPatchOperations bounds a JSON patch, as upstream.
const maxPatchOperations = 10000

func patchType(contentType string) types.PatchType {
	t, _, _ := strings.Cut(contentType, ";")
	return types.PatchType(strings.ToLower(strings.TrimSpace(t)))
}

// A patcher makes the next state of an object in the endpoint's shape. present has its kind set and is the patcher's to read.
type patcher func(present runtime.Object) (runtime.Object, error)

// patch answers PATCH of an object or of its status.
func (c *call) patch() error {
	kind := patchType(c.r.Header.Get("Content-Type"))
	switch kind {
	case types.JSONPatchType, types.MergePatchType, types.ApplyYAMLPatchType:
	case types.StrategicMergePatchType:
		if c.ep.schemaless {
			return unsupportedMedia(string(types.JSONPatchType), string(types.MergePatchType), string(types.ApplyYAMLPatchType))
		}
	default:
		return unsupportedMedia(string(types.JSONPatchType), string(types.MergePatchType), string(types.ApplyYAMLPatchType), string(types.StrategicMergePatchType))
	}
	w, err := c.writer("PatchOptions")
	if err != nil {
		return err
	}
	data, err := c.body()
	if err != nil {
		return err
	}
	subresource := ""
	if c.sub != nil {
		subresource = c.sub.Name
	}
	if kind == types.ApplyYAMLPatchType {
		return c.apply(w, data, subresource)
	}
	p, err := c.patcher(kind, data, w.writeOptions)
	if err != nil {
		return err
	}
	manager := c.owner(w.manager)
	do := func(_ context.Context, old *store.Entry) (runtime.Object, error) {
		present, err := c.ep.labelled(old.Object)
		if err != nil {
			return nil, err
		}
		next, err := p(present)
		if err != nil {
			return nil, err
		}
		m, err := meta.Accessor(next)
		if err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		if m.GetName() != c.info.Name {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", m.GetName(), c.info.Name))
		}
		if om, err := meta.Accessor(old.Object); err == nil && m.GetResourceVersion() == om.GetResourceVersion() {
			m.SetResourceVersion("") // not named by the patch: the newest state is meant
		}
		if c.ep.ver.Default != nil {
			c.ep.ver.Default(next)
		}
		dedupOwners(c, m)
		return c.ep.toStorage(c.ep.track(old.Object, next, subresource, manager))
	}
	e, _, err := w.update(c.ctx, c.info.Name, do, nil)
	if err != nil {
		return err
	}
	return c.respondEntry(http.StatusOK, e)
}

// patcher parses a patch and returns what applies it; the patch itself is parsed once, however often it is tried.
func (c *call) patcher(kind types.PatchType, data []byte, o writeOptions) (patcher, error) {
	if bytes.IndexByte(data, '{') < 0 && kind != types.JSONPatchType && string(bytes.TrimSpace(data)) != "null" {
		return nil, apierrors.NewBadRequest("error decoding patch: it is no JSON object")
	}
	switch kind {
	case types.JSONPatchType:
		ops, err := jsonpatch.DecodePatch(data)
		if err != nil {
			return nil, apierrors.NewBadRequest("error decoding patch: " + err.Error())
		}
		if len(ops) > maxPatchOperations {
			return nil, apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("The allowed maximum operations in a JSON patch is %d, got %d", maxPatchOperations, len(ops)))
		}
		return func(present runtime.Object) (runtime.Object, error) {
			doc, err := json.Marshal(present)
			if err != nil {
				return nil, err
			}
			out, err := ops.Apply(doc)
			if err != nil {
				return nil, apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", schema.GroupResource{}, "", err.Error(), 0, false)
			}
			return c.patched(out, o)
		}, nil

	case types.MergePatchType:
		patch := map[string]any{}
		found, err := kjson.UnmarshalStrict(data, &patch)
		if err != nil {
			return nil, apierrors.NewBadRequest("error decoding patch: " + err.Error())
		}
		if err := c.judgePatch(found, o); err != nil {
			return nil, err
		}
		return func(present runtime.Object) (runtime.Object, error) {
			if obj := c.mergeTyped(present, patch, false); obj != nil {
				return c.kindKept(obj)
			}
			doc, err := toMap(present)
			if err != nil {
				return nil, err
			}
			// The present state is laid out as a fresh map, and the patch is only read: its values are copied.
			mergeJSON(doc, patch)
			return c.fromMap(doc, o, func() string {
				text, _ := json.Marshal(doc)
				return string(text)
			})
		}, nil

	case types.StrategicMergePatchType:
		patch := map[string]any{}
		found, err := kjson.UnmarshalStrict(data, &patch)
		if err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		if err := c.judgePatch(found, o); err != nil {
			return nil, err
		}
		// Such a patch says what to change in this kind of object: a kind in it changes nothing.
		delete(patch, "kind")
		delete(patch, "apiVersion")
		lookup, err := strategicpatch.NewPatchMetaFromStruct(c.ep.ver.New())
		if err != nil {
			return nil, err
		}
		return func(present runtime.Object) (runtime.Object, error) {
			if obj := c.mergeTyped(present, patch, true); obj != nil {
				return c.kindKept(obj)
			}
			doc, err := toMap(present)
			if err != nil {
				return nil, err
			}
			out, err := strategicpatch.StrategicMergeMapPatchUsingLookupPatchMeta(doc, runtime.DeepCopyJSON(patch), lookup)
			if err != nil {
				return nil, strategicError(err)
			}
			return c.fromMap(out, o, func() string { return fmt.Sprintf("%+v", patch) })
		}, nil
	}
	return nil, unsupportedMedia()
}

// mergeTyped applies a plain patch to a copy of the typed object, without the detour over a map; nil if it is not plain.
func (c *call) mergeTyped(present runtime.Object, patch map[string]any, strategic bool) runtime.Object {
	if c.ep.schemaless {
		return nil
	}
	obj := present.DeepCopyObject()
	if err := model.MergePatch(obj, patch, strategic); err != nil {
		return nil
	}
	return obj
}

func strategicError(err error) error {
	switch {
	case errors.Is(err, mergepatch.ErrBadJSONDoc), errors.Is(err, mergepatch.ErrBadPatchFormatForPrimitiveList),
		errors.Is(err, mergepatch.ErrBadPatchFormatForRetainKeys), errors.Is(err, mergepatch.ErrBadPatchFormatForSetElementOrderList),
		errors.Is(err, mergepatch.ErrUnsupportedStrategicMergePatchFormat):
		return apierrors.NewBadRequest(err.Error())
	case errors.Is(err, mergepatch.ErrNoListOfLists):
		return apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", schema.GroupResource{}, "", err.Error(), 0, false)
	}
	return apierrors.NewBadRequest(err.Error())
}

func (c *call) judgePatch(found []error, o writeOptions) error {
	if len(found) == 0 || o.validation == metav1.FieldValidationIgnore {
		return nil
	}
	if o.validation == metav1.FieldValidationStrict {
		return apierrors.NewBadRequest(runtime.NewStrictDecodingError(found).Error())
	}
	for _, e := range found {
		c.warn(e.Error())
	}
	return nil
}

// mergeJSON applies an RFC 7386 merge patch to doc in place.
func mergeJSON(doc, patch map[string]any) {
	for k, v := range patch {
		switch v := v.(type) {
		case nil:
			delete(doc, k)
		case map[string]any:
			sub, ok := doc[k].(map[string]any)
			if !ok {
				sub = map[string]any{}
				doc[k] = sub
			}
			mergeJSON(sub, v)
		default:
			doc[k] = runtime.DeepCopyJSONValue(v)
		}
	}
}

func toMap(obj runtime.Object) (map[string]any, error) {
	if u, ok := obj.(runtime.Unstructured); ok {
		return runtime.DeepCopyJSON(u.UnstructuredContent()), nil
	}
	return runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
}

// invalidPatch refuses a patch for what came of it. Upstream names no object there.
func invalidPatch(shown string, err error) error {
	return apierrors.NewInvalid(schema.GroupKind{}, "", field.ErrorList{field.Invalid(field.NewPath("patch"), shown, err.Error())})
}

// judgePatched judges what strict decoding found in the outcome of a patch.
func (c *call) judgePatched(found []error, o writeOptions, shown func() string) error {
	if len(found) > 0 && o.validation == metav1.FieldValidationStrict {
		return invalidPatch(shown(), runtime.NewStrictDecodingError(found))
	}
	return c.judge(found, c.ep.gvk, c.ep.gvk.Kind, o)
}

// fromMap makes the typed object, with unknown fields judged as the options say. shown is what a refusal quotes.
func (c *call) fromMap(doc map[string]any, o writeOptions, shown func() string) (runtime.Object, error) {
	if c.ep.schemaless {
		text := ""
		if o.validation == metav1.FieldValidationStrict { // pruning changes the document
			text = shown()
		}
		u := &unstructured.Unstructured{Object: doc}
		found, err := c.pruneCustom(u, o)
		if err == nil {
			err = c.judgePatched(found, o, func() string { return text })
		}
		if err != nil {
			return nil, err
		}
		return c.kindKept(u)
	}
	obj := c.ep.ver.New()
	err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(doc, obj, o.strictness() == wire.Report)
	if err != nil {
		found, strict := strictErrors(err)
		if !strict {
			return nil, invalidPatch(shown(), err)
		}
		if err := c.judgePatched(found, o, shown); err != nil {
			return nil, err
		}
	}
	return c.kindKept(obj)
}

// patched decodes the outcome of a JSON patch.
func (c *call) patched(doc []byte, o writeOptions) (runtime.Object, error) {
	shown := func() string { return string(doc) }
	obj := c.ep.ver.New()
	found, err := wire.DecodeJSON(doc, obj, o.strictness())
	if err != nil {
		return nil, invalidPatch(shown(), err)
	}
	pruned, err := c.pruneCustom(obj, o)
	if err == nil {
		err = c.judgePatched(append(found, pruned...), o, shown)
	}
	if err != nil {
		return nil, err
	}
	return c.kindKept(obj)
}

// kindKept refuses a patch that changes apiVersion or kind.
func (c *call) kindKept(obj runtime.Object) (runtime.Object, error) {
	have := obj.GetObjectKind().GroupVersionKind()
	if have != c.ep.gvk && !have.Empty() {
		if have.Version == "" || have.Kind == "" {
			obj.GetObjectKind().SetGroupVersionKind(c.ep.gvk)
			return obj, nil
		}
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the API version in the data (%s) does not match the expected API version (%s)", have.GroupVersion(), c.ep.gvk.GroupVersion()))
	}
	return obj, nil
}
