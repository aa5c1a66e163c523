package apiserver

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"nau/internal/api"
	"nau/internal/apiserver/model"
	"nau/internal/apiserver/openapi"
)

// track records in obj (this endpoint's shape, kind set) who owns the fields that differ from live (stored shape, nil for a
// new object). It changes and returns obj.
func (ep *endpoint) track(live, obj runtime.Object, subresource, manager string) runtime.Object {
	if !ep.schemaless {
		obj.GetObjectKind().SetGroupVersionKind(ep.gvk)
	}
	if ep.trackQuickly(live, obj, subresource, manager, time.Now()) {
		return obj
	}
	return ep.trackThoroughly(live, obj, subresource, manager)
}

// trackThoroughly leaves it to the field manager.
func (ep *endpoint) trackThoroughly(live, obj runtime.Object, subresource, manager string) runtime.Object {
	fm, err := ep.fieldManager(subresource)
	if err != nil {
		return obj
	}
	before, err := ep.before(live)
	if err != nil {
		return obj
	}
	return fm.UpdateNoErrors(before, obj, manager)
}

// before is the live object as the field manager wants it: this shape, kind set, an empty one for none.
func (ep *endpoint) before(live runtime.Object) (runtime.Object, error) {
	if live == nil {
		obj := ep.ver.New()
		obj.GetObjectKind().SetGroupVersionKind(ep.gvk)
		return obj, nil
	}
	return ep.labelled(live)
}

// fieldManager is made at first use: most kinds are never written through most versions and subresources.
func (ep *endpoint) fieldManager(subresource string) (*managedfields.FieldManager, error) {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	if fm := ep.managers[subresource]; fm != nil {
		return fm, nil
	}
	conv := &converter{ep: ep}
	reset := ep.resetFields(subresource)
	var fm *managedfields.FieldManager
	var err error
	if ep.schemaless {
		fm, err = managedfields.NewDefaultCRDFieldManager(ep.types(), conv, conv, conv, ep.gvk, ep.gvk.GroupVersion(), subresource, reset)
	} else {
		fm, err = managedfields.NewDefaultFieldManager(ep.types(), conv, conv, conv, ep.gvk, ep.storage.GroupVersion(), subresource, reset)
	}
	if err != nil {
		return nil, err
	}
	if ep.managers == nil {
		ep.managers = map[string]*managedfields.FieldManager{}
	}
	ep.managers[subresource] = fm
	return fm, nil
}

func (ep *endpoint) types() managedfields.TypeConverter {
	if ep.schemaless {
		ep.mergeOnce.Do(func() { ep.merge = ep.customTypes() })
		return ep.merge
	}
	ep.mergeOnce.Do(func() {
		ep.merge = &model.Types{Sample: func(gvk schema.GroupVersionKind) runtime.Object {
			for i := range ep.res.Versions {
				if v := &ep.res.Versions[i]; ep.res.GVK(v) == gvk {
					return v.New()
				}
			}
			return nil
		}}
	})
	return ep.merge
}

// customTypes reads how a custom kind's fields merge off its schema; without one, everything merges as it looks.
func (ep *endpoint) customTypes() managedfields.TypeConverter {
	deduced := managedfields.NewDeducedTypeConverter()
	if ep.custom == nil {
		return deduced
	}
	served := []api.Served{}
	for i := range ep.res.Versions {
		served = append(served, api.Served{Resource: ep.res, Version: &ep.res.Versions[i]})
	}
	models := map[string]*spec.Schema{}
	for _, s := range served {
		gvk := ep.res.GVK(s.Version)
		doc, err := json.Marshal(openapi.Version(gvk.GroupVersion(), []api.Served{s}, "", ep.custom.Schemas())["components"].(map[string]any)["schemas"])
		if err != nil {
			return deduced
		}
		if err := json.Unmarshal(doc, &models); err != nil {
			return deduced
		}
	}
	types, err := managedfields.NewTypeConverter(models, false)
	if err != nil {
		return deduced
	}
	return types
}

// resetFilter is resetFields, made once for each subresource.
func (ep *endpoint) resetFilter(subresource string) map[fieldpath.APIVersion]fieldpath.Filter {
	if f, ok := ep.resets.Load(subresource); ok {
		return f.(map[fieldpath.APIVersion]fieldpath.Filter)
	}
	f := ep.resetFields(subresource)
	ep.resets.Store(subresource, f)
	return f
}

// resetFields are the paths that a write through the subresource leaves alone, so that it does not come to own them.
func (ep *endpoint) resetFields(subresource string) map[fieldpath.APIVersion]fieldpath.Filter {
	paths := ep.res.Strategy.ResetFields
	if subresource != "" {
		paths = nil
		if sub := ep.res.Subresource(subresource); sub != nil {
			paths = sub.ResetFields
		}
	}
	if len(paths) == 0 {
		return nil
	}
	set := fieldpath.NewSet()
	for _, p := range paths {
		parts := make([]any, len(p))
		for i := range p {
			parts[i] = p[i]
		}
		set.Insert(fieldpath.MakePathOrDie(parts...))
	}
	out := map[fieldpath.APIVersion]fieldpath.Filter{}
	for i := range ep.res.Versions {
		gv := ep.res.GVR(&ep.res.Versions[i]).GroupVersion()
		out[fieldpath.APIVersion(gv.String())] = fieldpath.NewExcludeSetFilter(set)
	}
	return out
}

// converter shows the versions of one resource to the field manager.
type converter struct{ ep *endpoint }

// ConvertToVersion brings an object to one of the served versions; the result has its kind set.
func (c *converter) ConvertToVersion(in runtime.Object, target runtime.GroupVersioner) (runtime.Object, error) {
	from := in.GetObjectKind().GroupVersionKind()
	to, ok := target.KindForGroupVersionKinds([]schema.GroupVersionKind{from})
	if !ok {
		to = c.ep.gvk
		if gv, isGV := target.(schema.GroupVersion); isGV {
			to = gv.WithKind(c.ep.gvk.Kind)
		}
	}
	typed, err := c.typed(in, from)
	if err != nil {
		return nil, err
	}
	if from == to {
		return typed, nil
	}
	source := c.sibling(from)
	dest := c.sibling(to)
	if source == nil || dest == nil {
		return nil, runtime.NewNotRegisteredErrForKind("served versions", to)
	}
	if dest.schemaless {
		return dest.toVersion(typed)
	}
	if source.ver.ToStorage == nil && dest.ver.FromStorage == nil {
		return withKind(typed, to), nil
	}
	stored := typed
	if source.ver.ToStorage != nil {
		if stored, err = source.ver.ToStorage(typed); err != nil {
			return nil, err
		}
	}
	out, err := dest.toVersion(stored)
	if err != nil {
		return nil, err
	}
	return withKind(out, to), nil
}

// sibling is the endpoint of another version of the same resource.
func (c *converter) sibling(gvk schema.GroupVersionKind) *endpoint {
	if gvk == c.ep.gvk {
		return c.ep
	}
	i := slices.IndexFunc(c.ep.res.Versions, func(v api.Version) bool { return c.ep.res.GVK(&v) == gvk })
	if i < 0 {
		return nil
	}
	return newEndpoint(c.ep.kind, &c.ep.res.Versions[i])
}

// typed makes a Go object of an unstructured one, unless the kind is unstructured itself.
func (c *converter) typed(in runtime.Object, gvk schema.GroupVersionKind) (runtime.Object, error) {
	u, ok := in.(runtime.Unstructured)
	if !ok || c.ep.schemaless {
		return in, nil
	}
	s := c.sibling(gvk)
	if s == nil {
		return nil, runtime.NewNotRegisteredErrForKind("served versions", gvk)
	}
	out := s.ver.New()
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.UnstructuredContent(), out); err != nil {
		return nil, fmt.Errorf("convert to %s: %w", gvk, err)
	}
	return out, nil
}

// Convert is not used by the field manager.
func (c *converter) Convert(in, out, context any) error {
	return fmt.Errorf("convert %T to %T: not supported", in, out)
}

// ConvertFieldLabel is not used by the field manager.
func (c *converter) ConvertFieldLabel(gvk schema.GroupVersionKind, label, value string) (string, string, error) {
	return label, value, nil
}

// Default fills the object as if a client had sent it.
func (c *converter) Default(in runtime.Object) {
	if s := c.sibling(in.GetObjectKind().GroupVersionKind()); s != nil && s.ver.Default != nil {
		s.ver.Default(in)
	}
}

// New makes an empty object.
func (c *converter) New(gvk schema.GroupVersionKind) (runtime.Object, error) {
	s := c.sibling(gvk)
	if s == nil {
		return nil, runtime.NewNotRegisteredErrForKind("served versions", gvk)
	}
	obj := s.ver.New()
	obj.GetObjectKind().SetGroupVersionKind(gvk)
	return obj, nil
}
