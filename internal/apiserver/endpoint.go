package apiserver

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"

	"nau/internal/api"
	"nau/internal/apiserver/custom"
	"nau/internal/apiserver/wire"
	"nau/internal/store"
)

// kind is what all served versions of a resource share: where its objects are kept and what they look like.
type kind struct {
	res     *api.Resource
	gr      schema.GroupResource
	storage schema.GroupVersionKind
	// schemaless kinds are unstructured: they carry kind and apiVersion in their bodies and have no protobuf form.
	schemaless bool
	selectable map[string]bool
	open       func() *store.Collection
	hooks      hooks
	custom     *custom.Kind // of custom resources
}

// hooks take part in the writes of one resource, beside the strategy: for what needs state beyond the object (addresses of
// services). They see the object prepared, before it is validated; the finish functions are called once, with the outcome.
type hooks interface {
	create(obj runtime.Object, dryRun bool) (finish func(committed bool), err error)
	update(new, old runtime.Object, dryRun bool) (finish func(committed bool), err error)
	deleted(old runtime.Object)
}

// endpoint is one resource as one version serves it. Immutable but for its caches.
type endpoint struct {
	*kind
	ver     *api.Version
	gvr     schema.GroupVersionResource
	gvk     schema.GroupVersionKind
	listGVK schema.GroupVersionKind
	// forms are the names under which entries keep their encodings for this version.
	jsonForm, protoForm, metaForm string
	proto                         bool
	sample                        runtime.Object

	// managers of fields by subresource name, made at first use.
	mu       sync.Mutex
	managers map[string]*managedfields.FieldManager

	// merge says how fields merge; set for schemaless kinds that have a schema, made from the Go type for the others.
	merge     managedfields.TypeConverter
	mergeOnce sync.Once
	resets    sync.Map // subresource → what its writes leave alone
}

func newEndpoint(k *kind, v *api.Version) *endpoint {
	ep := &endpoint{kind: k, ver: v, gvr: k.res.GVR(v), gvk: k.res.GVK(v)}
	ep.listGVK = ep.gvk.GroupVersion().WithKind(ep.gvk.Kind + "List")
	ep.jsonForm, ep.protoForm, ep.metaForm = "json", "proto", "meta"
	if v.FromStorage != nil {
		suffix := "/" + ep.gvk.Group + "/" + ep.gvk.Version
		ep.jsonForm += suffix
		ep.protoForm += suffix
	}
	if k.schemaless {
		ep.jsonForm += "/" + ep.gvk.Version
	}
	if v.New != nil {
		ep.sample = v.New()
		_, ep.proto = ep.sample.(wire.Message)
	}
	return ep
}

func newKind(res *api.Resource, open func(*kind) *store.Collection) *kind {
	k := &kind{res: res, gr: schema.GroupResource{Group: res.Group, Resource: res.Plural}, storage: res.StorageGVK()}
	k.selectable = map[string]bool{"metadata.name": true, "metadata.namespace": true}
	for i := range res.Versions {
		if v := &res.Versions[i]; v.Fields != nil {
			for f := range v.Fields(v.New()) {
				k.selectable[v.Name+":"+f] = true
			}
		}
	}
	if v := res.StorageVersion(); v != nil && v.New != nil {
		sample := v.New()
		if res.Fields != nil {
			for f := range res.Fields(sample) {
				k.selectable[f] = true
			}
		}
		_, k.schemaless = sample.(runtime.Unstructured)
	}
	if res.Prefix != "" && !res.Virtual {
		k.open = sync.OnceValue(func() *store.Collection { return open(k) })
	}
	return k
}

// prefix is the etcd prefix of the kind's objects.
func (k *kind) prefix() string { return "/registry/" + k.res.Prefix + "/" }

// key of an object below the prefix.
func (k *kind) key(namespace, name string) string {
	if k.res.Namespaced {
		return namespace + "/" + name
	}
	return name
}

// Decode, Stamp and Attributes make a kind the store's Codec.

// Decode reads a stored value of any version of the kind's group.
func (k *kind) Decode(value []byte) (runtime.Object, error) {
	var gvk schema.GroupVersionKind
	var raw []byte
	isJSON := len(value) > 0 && value[0] == '{'
	if isJSON {
		var tm metav1.TypeMeta
		if err := json.Unmarshal(value, &tm); err != nil {
			return nil, fmt.Errorf("decode stored %s: %w", k.gr, err)
		}
		gvk = tm.GroupVersionKind()
	} else {
		var err error
		if gvk, raw, err = wire.OpenEnvelope(value); err != nil {
			return nil, fmt.Errorf("decode stored %s: %w", k.gr, err)
		}
	}
	v := k.version(gvk)
	if v == nil {
		return nil, fmt.Errorf("decode stored %s: nothing known of %s", k.gr, gvk)
	}
	obj := v.New()
	if isJSON {
		if _, err := wire.DecodeJSON(value, obj, wire.Ignore); err != nil {
			return nil, fmt.Errorf("decode stored %s: %w", k.gr, err)
		}
	} else if m, ok := obj.(wire.Message); !ok {
		return nil, fmt.Errorf("decode stored %s: no protobuf form", k.gr)
	} else if err := m.Unmarshal(raw); err != nil {
		return nil, fmt.Errorf("decode stored %s: %w", k.gr, err)
	}
	if k.schemaless { // kept as it is stored, and converted when somebody reads it in another version
		obj.GetObjectKind().SetGroupVersionKind(k.res.GVK(v))
	} else {
		shareFields(obj)
	}
	// As on every way in: an older writer knew fewer defaults, and protobuf keeps no kind of nested objects.
	if v.Default != nil {
		v.Default(obj)
	}
	if v.ToStorage != nil {
		return v.ToStorage(obj)
	}
	k.bare(obj)
	return obj, nil
}

// version finds the declaration that a stored value was written with; the storage version if none matches by name.
func (k *kind) version(gvk schema.GroupVersionKind) *api.Version {
	for i := range k.res.Versions {
		if v := &k.res.Versions[i]; k.res.GVK(v) == gvk {
			return v
		}
	}
	if gvk.Group == k.res.Group && gvk.Kind == k.res.Kind {
		return k.res.StorageVersion()
	}
	return nil
}

// bare clears kind and apiVersion: typed objects are kept without, and get them back on the wire.
func (k *kind) bare(obj runtime.Object) {
	if !k.schemaless {
		obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	}
}

// Stamp sets the resource version.
func (k *kind) Stamp(obj runtime.Object, revision int64) {
	if m, err := meta.Accessor(obj); err == nil {
		m.SetResourceVersion(strconv.FormatInt(revision, 10))
	}
}

// Restamped is a copy with another resource version; a typed object's shares everything below the top.
func (k *kind) Restamped(obj runtime.Object, revision int64) runtime.Object {
	var out runtime.Object
	if k.schemaless {
		out = obj.DeepCopyObject()
	} else {
		out = shallow(obj)
	}
	k.Stamp(out, revision)
	return out
}

// Attributes are the labels and selectable fields.
func (k *kind) Attributes(obj runtime.Object) (labels.Set, fields.Set) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, nil
	}
	var set fields.Set
	if k.res.Fields != nil {
		set = k.res.Fields(obj)
	}
	if set == nil {
		set = make(fields.Set, 2)
	}
	for i := range k.res.Versions {
		if v := &k.res.Versions[i]; v.Fields != nil {
			k.versionFields(set, v, obj)
		}
	}
	set["metadata.name"] = m.GetName()
	if k.res.Namespaced {
		set["metadata.namespace"] = m.GetNamespace()
	}
	return m.GetLabels(), set
}

// versionFields adds the selectable fields that objects have in one version, under names of its own. An object that cannot be
// converted has them empty: it is selected by nothing that asks for a value.
func (k *kind) versionFields(set fields.Set, v *api.Version, obj runtime.Object) {
	as, err := k.convert(obj, k.res.GVK(v))
	if err != nil {
		as = v.New()
	}
	for name, value := range v.Fields(as) {
		set[v.Name+":"+name] = value
	}
}

// convert gives a custom object in one of its versions; in its own it is the argument itself.
func (k *kind) convert(obj runtime.Object, to schema.GroupVersionKind) (runtime.Object, error) {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok || u.GroupVersionKind() == to {
		return obj, nil
	}
	if k.custom == nil {
		out := u.DeepCopy()
		out.SetGroupVersionKind(to)
		return out, nil
	}
	out, err := k.custom.Convert([]*unstructured.Unstructured{u}, to.Version)
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// encodeStored is the value that goes to etcd: protobuf at the storage version, JSON for schemaless kinds. It clears the
// resource version, which the store stamps.
func (k *kind) encodeStored(obj runtime.Object) ([]byte, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	m.SetResourceVersion("")
	if msg, ok := obj.(wire.Message); ok {
		k.bare(obj)
		return wire.MarshalEnvelope(msg, k.storage)
	}
	as := k.storage
	if k.schemaless {
		as = obj.GetObjectKind().GroupVersionKind() // put has brought it to the storage version; a deletion leaves it in its own
	}
	b, _, err := wire.Encode(obj, as, wire.JSON, false)
	return b, err
}

// toVersion gives the object in this endpoint's shape. Without a conversion it is the argument itself.
func (ep *endpoint) toVersion(obj runtime.Object) (runtime.Object, error) {
	if ep.schemaless {
		return ep.convert(obj, ep.gvk)
	}
	if ep.ver.FromStorage == nil {
		return obj, nil
	}
	out, err := ep.ver.FromStorage(obj)
	if err != nil {
		return nil, fmt.Errorf("convert %s to %s: %w", ep.storage.Kind, ep.gvk.GroupVersion(), err)
	}
	return out, nil
}

// toStorage gives the object in the shape in which it is judged: the stored one. Without a conversion it is the argument itself,
// bared of its kind. Custom objects are judged in the request's version, and put converts them.
func (ep *endpoint) toStorage(obj runtime.Object) (runtime.Object, error) {
	if ep.ver.ToStorage == nil {
		if ep.schemaless {
			obj.GetObjectKind().SetGroupVersionKind(ep.gvk)
		}
		ep.bare(obj)
		return obj, nil
	}
	out, err := ep.ver.ToStorage(obj)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	ep.bare(out)
	return out, nil
}

// labelled is a shallow copy of a stored object in this endpoint's shape with kind and apiVersion set, for libraries that ask
// an object what it is. Everything below the top is shared and read only.
func (ep *endpoint) labelled(obj runtime.Object) (runtime.Object, error) {
	v, err := ep.toVersion(obj)
	if err != nil || ep.schemaless {
		return v, err
	}
	return withKind(v, ep.gvk), nil
}

// shallow is a copy of the object's top; everything below is shared.
func shallow(obj runtime.Object) runtime.Object {
	old := reflect.ValueOf(obj).Elem()
	fresh := reflect.New(old.Type())
	fresh.Elem().Set(old)
	return fresh.Interface().(runtime.Object)
}

func withKind(obj runtime.Object, gvk schema.GroupVersionKind) runtime.Object {
	out := shallow(obj)
	out.GetObjectKind().SetGroupVersionKind(gvk)
	return out
}

// json is the entry's document without kind and apiVersion (with them for schemaless kinds), made once.
func (ep *endpoint) json(e *store.Entry) ([]byte, error) {
	return e.Encoded(ep.jsonForm, func(o runtime.Object) ([]byte, error) {
		v, err := ep.toVersion(o)
		if err != nil {
			return nil, err
		}
		if !ep.schemaless && v != o {
			ep.bare(v)
		}
		b, err := json.Marshal(v)
		if n := len(b); err == nil && b[n-1] == '\n' {
			b = b[:n-1]
		}
		return b, err
	})
}

// message is the entry's protobuf message without envelope, made once.
func (ep *endpoint) message(e *store.Entry) ([]byte, error) {
	return e.Encoded(ep.protoForm, func(o runtime.Object) ([]byte, error) {
		m, err := ep.asMessage(o)
		if err != nil {
			return nil, err
		}
		return wire.MarshalMessage(m)
	})
}

// envelope is the entry's protobuf message in its envelope, for one reader.
func (ep *endpoint) envelope(e *store.Entry) ([]byte, error) {
	m, err := ep.asMessage(e.Object)
	if err != nil {
		return nil, err
	}
	return wire.MarshalEnvelope(m, ep.gvk)
}

func (ep *endpoint) asMessage(o runtime.Object) (wire.Message, error) {
	v, err := ep.toVersion(o)
	if err != nil {
		return nil, err
	}
	m, ok := v.(wire.Message)
	if !ok {
		return nil, fmt.Errorf("encode %s: no protobuf form", ep.gvk)
	}
	return m, nil
}

// document is the entry as a client gets it, in JSON.
func (ep *endpoint) document(dst []byte, e *store.Entry) ([]byte, error) {
	b, err := ep.json(e)
	if err != nil {
		return nil, err
	}
	if ep.schemaless {
		return append(dst, b...), nil
	}
	return wire.AppendJSONObject(dst, ep.gvk, b), nil
}

// fieldSelector parses and checks a field selector; aliases of this version become the stored names.
func (ep *endpoint) fieldSelector(text string) (fields.Selector, error) {
	if text == "" {
		return nil, nil
	}
	sel, err := fields.ParseSelector(text)
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("Unable to parse field selector: %v", err))
	}
	sel, err = sel.Transform(func(field, value string) (string, string, error) {
		if alias, ok := ep.res.FieldAliases[field]; ok && ep.gvk.Group != ep.res.Group {
			field = alias
		}
		if own := ep.ver.Name + ":" + field; ep.selectable[own] {
			return own, value, nil
		}
		if !ep.selectable[field] {
			if !slices.ContainsFunc(sortedKeys(ep.selectable), func(f string) bool { return !strings.HasPrefix(f, "metadata.") }) {
				return "", "", fmt.Errorf("%q is not a known field selector: only %q, %q", field, "metadata.name", "metadata.namespace")
			}
			return "", "", fmt.Errorf("field label not supported: %s", field)
		}
		return field, value, nil
	})
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if sel.Empty() {
		return nil, nil
	}
	return sel, nil
}

// index names the fields that have an index in the watch cache: those by which every node and controller watches.
func (k *kind) index() []string {
	if k.res.Group == "" && k.res.Plural == "pods" {
		return []string{"spec.nodeName"}
	}
	return nil
}

func hasVerb(verbs []string, verb string) bool {
	for _, v := range verbs {
		if v == verb {
			return true
		}
	}
	return false
}
