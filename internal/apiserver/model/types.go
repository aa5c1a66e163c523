package model

import (
	"encoding/json"
	"fmt"
	"reflect"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	smd "sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
)

// Types gives server-side apply the merge types of kinds. It implements managedfields.TypeConverter.
type Types struct {
	// Sample makes an empty object of a kind; nil for kinds that are not known.
	Sample func(schema.GroupVersionKind) runtime.Object

	known sync.Map // schema.GroupVersionKind → *typed.ParseableType
}

var _ managedfields.TypeConverter = (*Types)(nil)

// ObjectToTyped wraps an object whose kind is set.
func (c *Types) ObjectToTyped(obj runtime.Object, opts ...typed.ValidationOptions) (*typed.TypedValue, error) {
	gvk := obj.GetObjectKind().GroupVersionKind()
	t, err := c.Of(gvk)
	if err != nil {
		return nil, err
	}
	if u, ok := obj.(runtime.Unstructured); ok {
		return t.FromUnstructured(u.UnstructuredContent(), opts...)
	}
	return t.FromStructured(obj, opts...)
}

// TypedToObject is the way back, to an unstructured object.
func (c *Types) TypedToObject(v *typed.TypedValue) (runtime.Object, error) {
	m, ok := v.AsValue().Unstructured().(map[string]any)
	if !ok {
		return nil, fmt.Errorf("read merged value: it is no object")
	}
	return &unstructured.Unstructured{Object: m}, nil
}

// Of is the merge type of a kind.
func (c *Types) Of(gvk schema.GroupVersionKind) (*typed.ParseableType, error) {
	if t, ok := c.known.Load(gvk); ok {
		return t.(*typed.ParseableType), nil
	}
	obj := c.Sample(gvk)
	if obj == nil {
		return nil, runtime.NewNotRegisteredErrForKind("model", gvk)
	}
	// Values compare only within one schema, so the first one made stays.
	t, _ := c.known.LoadOrStore(gvk, Parseable(reflect.TypeOf(obj).Elem()))
	return t.(*typed.ParseableType), nil
}

// Parseable is the merge type of a Go struct.
func Parseable(t reflect.Type) *typed.ParseableType {
	b := builder{seen: map[string]bool{}}
	ref := b.ref(t, "", "")
	b.out = append(b.out, untypedAtomic, untypedDeduced)
	return &typed.ParseableType{Schema: &smd.Schema{Types: b.out}, TypeRef: ref}
}

const atomicName, deducedName = "__untyped_atomic_", "__untyped_deduced_"

var (
	untyped        = smd.Untyped
	atomicRef      = smd.TypeRef{NamedType: ptr(atomicName)}
	deducedRef     = smd.TypeRef{NamedType: ptr(deducedName)}
	untypedAtomic  = smd.TypeDef{Name: atomicName, Atom: smd.Atom{Scalar: &untyped, List: &smd.List{ElementType: atomicRef, ElementRelationship: smd.Atomic}, Map: &smd.Map{ElementType: atomicRef, ElementRelationship: smd.Atomic}}}
	untypedDeduced = smd.TypeDef{Name: deducedName, Atom: smd.Atom{Scalar: &untyped, List: &smd.List{ElementType: atomicRef, ElementRelationship: smd.Atomic}, Map: &smd.Map{ElementType: deducedRef, ElementRelationship: smd.Separable}}}
)

func ptr[T any](v T) *T { return &v }

// defs are the type definitions made so far, shared by the schemas of all kinds.
var defs sync.Map // reflect.Type → smd.TypeDef

type builder struct {
	seen map[string]bool
	out  []smd.TypeDef
}

func scalar(s smd.Scalar) smd.TypeRef { return smd.TypeRef{Inlined: smd.Atom{Scalar: &s}} }

// ref is the reference to a type from a field of owner.
func (b *builder) ref(t reflect.Type, owner, field string) smd.TypeRef {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch ShapeOf(t) {
	case String, Bytes:
		return scalar(smd.String)
	case Boolean:
		return scalar(smd.Boolean)
	case Integer, Number:
		return scalar(smd.Numeric)
	case Time, Quantity, IntOrString:
		return scalar(smd.Untyped)
	case FreeObject:
		return smd.TypeRef{Inlined: smd.Atom{Map: untypedDeduced.Map}}
	case Map:
		m := &smd.Map{ElementType: b.ref(t.Elem(), owner, field+"[]")}
		if AtomicField(owner, field) {
			m.ElementRelationship = smd.Atomic
		}
		return smd.TypeRef{Inlined: smd.Atom{Map: m}}
	case List:
		l := &smd.List{ElementType: b.ref(t.Elem(), owner, field+"[]"), ElementRelationship: smd.Atomic}
		if keys, ok := Keys(owner, field); ok {
			l.ElementRelationship, l.Keys = smd.Associative, keys
		}
		return smd.TypeRef{Inlined: smd.Atom{List: l}}
	case Object:
		name := Name(t)
		b.define(t, name)
		r := smd.TypeRef{NamedType: &name}
		if AtomicField(owner, field) {
			r.ElementRelationship = ptr(smd.Atomic)
		}
		return r
	}
	return deducedRef
}

func (b *builder) define(t reflect.Type, name string) {
	if b.seen[name] {
		return
	}
	b.seen[name] = true
	if d, ok := defs.Load(t); ok {
		b.out = append(b.out, d.(smd.TypeDef))
		for _, f := range cachedFields(t) {
			b.reach(f.Type)
		}
		return
	}
	m := &smd.Map{}
	if AtomicType(name) {
		m.ElementRelationship = smd.Atomic
	}
	for _, f := range cachedFields(t) {
		sf := smd.StructField{Name: f.Name, Type: b.ref(f.Type, name, f.Name), Default: zeroDefault(f)}
		if d := Default(name, f.Name); d != "" {
			_ = json.Unmarshal([]byte(d), &sf.Default)
		}
		m.Fields = append(m.Fields, sf)
	}
	d := smd.TypeDef{Name: name, Atom: smd.Atom{Map: m}}
	defs.Store(t, d)
	b.out = append(b.out, d)
}

// reach defines the structs below a type whose definition was made for another kind.
func (b *builder) reach(t reflect.Type) {
	switch ShapeOf(t) {
	case Map, List:
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		b.reach(t.Elem())
	case Object:
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		b.define(t, Name(t))
	}
}

// zeroDefault is what a missing required field counts as.
func zeroDefault(f Field) any {
	if f.Type.Kind() == reflect.Pointer {
		return nil
	}
	switch ShapeOf(f.Type) {
	case Object:
		return map[string]any{}
	case String:
		if f.Required {
			return ""
		}
	case Integer, Number:
		if f.Required {
			return int64(0)
		}
	case Boolean:
		if f.Required {
			return false
		}
	}
	return nil
}
