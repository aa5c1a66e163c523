package apiserver

import (
	"fmt"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"nau/internal/api"
	"nau/internal/apiserver/admission"
	"nau/internal/apiserver/wire"
)

// shapes shows a request's object to webhooks and policies in the versions that its resource is served in.
type shapes struct {
	ep *endpoint
	c  *call
}

func (s shapes) Served() []admission.Served {
	out := make([]admission.Served, 0, len(s.ep.res.Versions))
	for i := range s.ep.res.Versions {
		v := &s.ep.res.Versions[i]
		if v.Unserved {
			continue
		}
		out = append(out, admission.Served{Resource: s.ep.res.GVR(v), Kind: s.ep.res.GVK(v)})
	}
	return out
}

// in is the endpoint of one of the kind's versions.
func (s shapes) in(kind schema.GroupVersionKind) (*endpoint, error) {
	if kind == s.ep.gvk {
		return s.ep, nil
	}
	if v := (&converter{ep: s.ep}).sibling(kind); v != nil {
		return v, nil
	}
	return nil, fmt.Errorf("show %s as %s: it is not served so", s.ep.gr, kind)
}

func (s shapes) To(obj runtime.Object, kind schema.GroupVersionKind) (runtime.Object, error) {
	ep, err := s.in(kind)
	if err != nil {
		return nil, err
	}
	return ep.labelled(obj)
}

func (s shapes) From(doc []byte, kind schema.GroupVersionKind) (runtime.Object, error) {
	ep, err := s.in(kind)
	if err != nil {
		return nil, err
	}
	obj := ep.ver.New()
	if _, err := wire.DecodeJSON(doc, obj, wire.Ignore); err != nil {
		return nil, err
	}
	return s.settle(ep, obj)
}

// settle brings an object of one version to the stored shape, as a request's body is.
func (s shapes) settle(ep *endpoint, obj runtime.Object) (runtime.Object, error) {
	if have := obj.GetObjectKind().GroupVersionKind(); have != ep.gvk && !have.Empty() {
		return nil, fmt.Errorf("apiVersion and kind may not change from %s to %s", ep.gvk, have)
	}
	obj.GetObjectKind().SetGroupVersionKind(ep.gvk)
	of := *s.c
	of.ep = ep
	if err := of.settleCustom(obj, writeOptions{validation: metav1.FieldValidationIgnore}); err != nil {
		return nil, err
	}
	if ep.ver.Default != nil {
		ep.ver.Default(obj)
	}
	if ep.schemaless {
		return s.ep.toVersion(obj) // custom objects are written in the request's version
	}
	return ep.toStorage(obj)
}

func (s shapes) Merge(obj, fields runtime.Object, kind schema.GroupVersionKind) (runtime.Object, error) {
	ep, err := s.in(kind)
	if err != nil {
		return nil, err
	}
	present, err := ep.labelled(obj)
	if err != nil {
		return nil, err
	}
	doc, err := toMap(present)
	if err != nil {
		return nil, err
	}
	types := ep.types()
	old, err := types.ObjectToTyped(&unstructured.Unstructured{Object: doc})
	if err != nil {
		return nil, fmt.Errorf("read fields of %s: %w", kind.Kind, err)
	}
	patch, err := types.ObjectToTyped(fields)
	if err != nil {
		return nil, fmt.Errorf("read fields to apply: %w", err)
	}
	merged, err := old.Merge(patch)
	if err != nil {
		return nil, fmt.Errorf("merge fields into %s: %w", kind.Kind, err)
	}
	out, err := types.TypedToObject(merged)
	if err != nil {
		return nil, fmt.Errorf("make %s of merged fields: %w", kind.Kind, err)
	}
	if u, free := out.(runtime.Unstructured); free && !ep.schemaless {
		typed := ep.ver.New()
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.UnstructuredContent(), typed); err != nil {
			return nil, fmt.Errorf("make %s of merged fields: %w", kind.Kind, err)
		}
		out = typed
	}
	return s.settle(ep, out)
}

// scaleShape shows an object that is being scaled as its Scale, which is all that the request can change.
type scaleShape struct {
	gvr schema.GroupVersionResource
	gvk schema.GroupVersionKind
	sub *api.Subresource
	obj runtime.Object
}

func (s scaleShape) Served() []admission.Served {
	return []admission.Served{{Resource: s.gvr, Kind: s.gvk}}
}

func (s scaleShape) To(obj runtime.Object, _ schema.GroupVersionKind) (runtime.Object, error) {
	sc, err := scaleOf(s.sub, obj)
	if err != nil {
		return nil, err
	}
	sc.SetGroupVersionKind(s.gvk)
	return sc, nil
}

func (s scaleShape) From(doc []byte, _ schema.GroupVersionKind) (runtime.Object, error) {
	sc := &autoscalingv1.Scale{}
	if _, err := wire.DecodeJSON(doc, sc, wire.Ignore); err != nil {
		return nil, err
	}
	out := s.obj.DeepCopyObject()
	s.sub.Scale.Set(out, sc.Spec.Replicas)
	return out, nil
}

func (s scaleShape) Merge(obj, _ runtime.Object, _ schema.GroupVersionKind) (runtime.Object, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("apply fields to the scale of %s: change it by a JSON patch", m.GetName())
}
