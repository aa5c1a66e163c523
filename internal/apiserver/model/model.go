// Package model knows the shape of API types: names, fields, documentation, and how lists and maps merge.
//
// It reads Go types by reflection, at first use and one kind at a time, together with a generated table of what reflection
// cannot see. Server-side apply (types.go) and OpenAPI are derived from it. It holds no objects and does no I/O. Only
// apiserver and its sub-packages import it.
package model

//go:generate go run gen/main.go
//go:generate go run gen/enums/main.go

import (
	"encoding/json"
	"reflect"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Field is one member of a struct as JSON shows it.
type Field struct {
	Name     string
	Type     reflect.Type
	Required bool // neither a pointer nor omitted when empty
	// MergeStrategy and MergeKey are the struct tags of strategic merge patch.
	MergeStrategy, MergeKey string
	// Doc is the description.
	Doc string
}

// Name is the name of a struct's model: io.k8s.api.core.v1.Pod.
func Name(t reflect.Type) string {
	if n, ok := reflect.Zero(t).Interface().(interface{ OpenAPIModelName() string }); ok {
		return n.OpenAPIModelName()
	}
	pkg := t.PkgPath()
	host, rest, ok := strings.Cut(pkg, "/")
	if !ok {
		return pkg + "." + t.Name()
	}
	parts := strings.Split(host, ".")
	for i, j := 0, len(parts)-1; i < j; i, j = i+1, j-1 {
		parts[i], parts[j] = parts[j], parts[i]
	}
	return strings.Join(parts, ".") + "." + strings.ReplaceAll(rest, "/", ".") + "." + t.Name()
}

// Docs are the descriptions of a struct's fields by name; "" is the struct's own.
func Docs(t reflect.Type) map[string]string {
	if t.Kind() == reflect.Struct {
		if d, ok := reflect.Zero(t).Interface().(interface{ SwaggerDoc() map[string]string }); ok {
			return d.SwaggerDoc()
		}
	}
	return nil
}

// Fields lists a struct's members; inlined structs are dissolved.
func Fields(t reflect.Type) []Field {
	var out []Field
	docs := Docs(t)
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() && !f.Anonymous {
			continue
		}
		name, inline := jsonName(f)
		if name == "-" {
			continue
		}
		_, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		if inline {
			inner := f.Type
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			if inner.Kind() == reflect.Struct {
				out = append(out, Fields(inner)...)
			}
			continue
		}
		out = append(out, Field{
			Name: name, Type: f.Type, Doc: docs[name],
			Required:      f.Type.Kind() != reflect.Pointer && !strings.Contains(opts, "omitempty") && !strings.Contains(opts, "omitzero"),
			MergeStrategy: f.Tag.Get("patchStrategy"), MergeKey: f.Tag.Get("patchMergeKey"),
		})
	}
	return out
}

// jsonName is a member's name in JSON, or whether its own members stand in its place.
func jsonName(f reflect.StructField) (name string, inline bool) {
	name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
	if name == "" && (f.Anonymous || strings.Contains(opts, "inline")) {
		return "", true
	}
	if name == "" {
		name = f.Name
	}
	return name, false
}

// Shape is how a type looks on the wire.
type Shape int

// The shapes.
const (
	String Shape = iota
	Integer
	Number
	Boolean
	List
	Map
	Object
	Bytes
	Time
	Quantity
	IntOrString
	Anything // any JSON
	FreeObject
)

var (
	timeType      = reflect.TypeFor[metav1.Time]()
	microTimeType = reflect.TypeFor[metav1.MicroTime]()
	durationType  = reflect.TypeFor[metav1.Duration]()
	quantityType  = reflect.TypeFor[resource.Quantity]()
	intstrType    = reflect.TypeFor[intstr.IntOrString]()
	rawType       = reflect.TypeFor[runtime.RawExtension]()
	fieldsType    = reflect.TypeFor[metav1.FieldsV1]()
	marshaler     = reflect.TypeFor[json.Marshaler]()
	jsonRawType   = reflect.TypeFor[json.RawMessage]()
)

// ShapeOf tells the shape of a type; pointers are looked through.
func ShapeOf(t reflect.Type) Shape {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t {
	case timeType, microTimeType:
		return Time
	case durationType:
		return String
	case quantityType:
		return Quantity
	case intstrType:
		return IntOrString
	case rawType, fieldsType:
		return FreeObject
	case jsonRawType:
		return Anything
	}
	switch t.Kind() {
	case reflect.String:
		return String
	case reflect.Bool:
		return Boolean
	case reflect.Float32, reflect.Float64:
		return Number
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return Integer
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return Bytes
		}
		return List
	case reflect.Map:
		return Map
	case reflect.Struct:
		if t.Implements(marshaler) || reflect.PointerTo(t).Implements(marshaler) {
			return Anything
		}
		return Object
	}
	return Anything
}

// Keys tells whether a list field is associative, and by which keys of its items; none means a set of scalars.
func Keys(owner, field string) (keys []string, ok bool) {
	k, ok := associative[owner+"."+field]
	if !ok {
		k, ok = associativeMore[owner+"."+field]
	}
	if !ok || k == "" {
		return nil, ok
	}
	return strings.Split(k, ","), true
}

// AtomicField tells whether a map or struct field has one owner as a whole.
func AtomicField(owner, field string) bool { return atomic[owner+"."+field] }

// AtomicType tells whether a struct has one owner as a whole.
func AtomicType(name string) bool { return atomic[name] }

// Default is the declared default of a field, as JSON; "" for none.
func Default(owner, field string) string { return defaults[owner+"."+field] }

// associativeMore are the lists of kinds whose libraries ship no schema, from the +listType markers of their types.
var associativeMore = map[string]string{
	"io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinitionStatus.conditions": "type",
	"io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps.x-kubernetes-validations":  "rule",
	"io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIServiceStatus.conditions":                     "type",
}

var fieldCache sync.Map // reflect.Type → []Field

// cachedFields is Fields, remembered.
func cachedFields(t reflect.Type) []Field {
	if f, ok := fieldCache.Load(t); ok {
		return f.([]Field)
	}
	f := Fields(t)
	fieldCache.Store(t, f)
	return f
}

// Enum is what a string type may hold, sorted, where the API says that it is an enumeration; nil otherwise.
func Enum(t reflect.Type) []string {
	if t.Kind() != reflect.String || t.PkgPath() == "" {
		return nil
	}
	return enums[t.PkgPath()+"."+t.Name()]
}
