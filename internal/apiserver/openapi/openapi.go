// Package openapi describes the served resources as OpenAPI 3.0, one document a group version, and as OpenAPI 2.0, one document
// for all.
//
// Schemas are read off Go types through package model; paths follow from the resource table. Documents are built when they
// are asked for. The package serves nothing; only apiserver imports it.
package openapi

import (
	"reflect"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"nau/internal/api"
	"nau/internal/apiserver/model"
)

// object is a JSON object under construction.
type object = map[string]any

// dialect is what differs between OpenAPI 2 and 3.
type dialect struct {
	v3   bool
	refs string
}

var (
	v2 = dialect{refs: "#/definitions/"}
	v3 = dialect{v3: true, refs: "#/components/schemas/"}
)

// document gathers the schemas of a document.
type document struct {
	dialect
	schemas map[string]object
	kinds   map[string][]schema.GroupVersionKind // by model name
}

func newDocument(d dialect) *document {
	return &document{dialect: d, schemas: map[string]object{}, kinds: map[string][]schema.GroupVersionKind{}}
}

// Version is the document of one group version, OpenAPI 3.0.
func Version(gv schema.GroupVersion, served []api.Served, release string, foreign map[schema.GroupVersionKind]Schema) map[string]any {
	d := newDocument(v3)
	paths := d.paths(gv, served, foreign)
	d.stamp()
	return object{
		"openapi":    "3.0.0",
		"info":       object{"title": "Kubernetes", "version": release},
		"paths":      paths,
		"components": object{"schemas": plain(d.schemas), "securitySchemes": object{"BearerToken": bearer(d.dialect)}},
	}
}

// All is the document of everything, OpenAPI 2.0.
func All(index *api.Index, release string, foreign map[schema.GroupVersionKind]Schema) map[string]any {
	d := newDocument(v2)
	paths := object{}
	for _, g := range index.Groups() {
		for _, ver := range g.Versions {
			for p, item := range d.paths(ver.GroupVersion, ver.Resources, foreign) {
				paths[p] = item
			}
		}
	}
	d.stamp()
	return object{
		"swagger":             "2.0",
		"info":                object{"title": "Kubernetes", "version": release},
		"paths":               paths,
		"definitions":         plain(d.schemas),
		"securityDefinitions": object{"BearerToken": bearer(d.dialect)},
		"security":            []any{object{"BearerToken": []any{}}},
	}
}

func bearer(dialect) object {
	return object{"type": "apiKey", "name": "authorization", "in": "header", "description": "Bearer Token authentication"}
}

func plain(m map[string]object) object {
	out := object{}
	for k, v := range m {
		out[k] = v
	}
	return out
}

// Schema is the ready schema of a kind that has no Go type: a custom resource.
type Schema struct {
	Name string // of the model
	V3   map[string]any
	V2   map[string]any
}

// kind makes sure that the schema of a kind's Go type is in the document and gives a reference to it.
func (d *document) kind(obj runtime.Object, gvk schema.GroupVersionKind) object {
	t := reflect.TypeOf(obj).Elem()
	name := model.Name(t)
	d.struct_(t, name)
	for _, k := range d.kinds[name] {
		if k == gvk {
			return d.ref(name)
		}
	}
	d.kinds[name] = append(d.kinds[name], gvk)
	return d.ref(name)
}

func (d *document) ref(name string) object { return object{"$ref": d.refs + name} }

// stamp writes the kinds into their schemas.
func (d *document) stamp() {
	for name, kinds := range d.kinds {
		s := d.schemas[name]
		if s == nil {
			continue
		}
		var list []any
		for _, k := range kinds {
			list = append(list, gvkObject(k))
		}
		s["x-kubernetes-group-version-kind"] = list
	}
}

func gvkObject(k schema.GroupVersionKind) object {
	return object{"group": k.Group, "version": k.Version, "kind": k.Kind}
}

// struct_ puts the schema of a struct into the document.
func (d *document) struct_(t reflect.Type, name string) {
	if d.schemas[name] != nil {
		return
	}
	s := object{}
	d.schemas[name] = s
	docs := model.Docs(t)
	if doc := docs[""]; doc != "" {
		s["description"] = doc
	}
	switch model.ShapeOf(t) {
	case model.Time:
		s["type"], s["format"] = "string", "date-time"
		return
	case model.Quantity:
		s["description"] = quantityDoc
		d.either(s, "", "string", "number")
		return
	case model.IntOrString:
		s["description"] = intOrStringDoc
		d.either(s, "int-or-string", "integer", "string")
		return
	case model.FreeObject:
		s["type"] = "object"
		return
	case model.Anything:
		return
	}
	s["type"] = "object"
	props := object{}
	var required []any
	for _, f := range model.Fields(t) {
		p := d.field(name, f)
		if f.Doc != "" {
			p["description"] = f.Doc
		}
		props[f.Name] = p
		if f.Required {
			required = append(required, f.Name)
		}
	}
	if len(props) > 0 {
		s["properties"] = props
	}
	if len(required) > 0 {
		s["required"] = required
	}
	if model.AtomicType(name) {
		s["x-kubernetes-map-type"] = "atomic"
	}
}

// either is a schema of two types; OpenAPI 2 has no such thing and says string.
func (d *document) either(s object, format, a, b string) {
	if format != "" {
		s["format"] = format
	}
	if d.v3 {
		s["oneOf"] = []any{object{"type": a}, object{"type": b}}
		return
	}
	s["type"] = "string"
}

func (d *document) field(owner string, f model.Field) object {
	s := d.schema(f.Type)
	if ref, ok := s["$ref"]; ok && d.v3 {
		// A reference stands alone in OpenAPI 3.0; description and default need a wrapper.
		s = object{"allOf": []any{object{"$ref": ref}}}
	}
	if def := model.Default(owner, f.Name); def != "" {
		s["default"] = literal(def)
	} else if d.v3 && f.Type.Kind() == reflect.Struct {
		s["default"] = object{}
	}
	switch model.ShapeOf(f.Type) {
	case model.List:
		if keys, ok := model.Keys(owner, f.Name); ok && len(keys) > 0 {
			s["x-kubernetes-list-type"] = "map"
			s["x-kubernetes-list-map-keys"] = anys(keys)
		} else if ok {
			s["x-kubernetes-list-type"] = "set"
		} else {
			s["x-kubernetes-list-type"] = "atomic"
		}
	case model.Map, model.Object:
		if model.AtomicField(owner, f.Name) {
			s["x-kubernetes-map-type"] = "atomic"
		}
	}
	if f.MergeStrategy != "" {
		s["x-kubernetes-patch-strategy"] = f.MergeStrategy
	}
	if f.MergeKey != "" {
		s["x-kubernetes-patch-merge-key"] = f.MergeKey
	}
	return s
}

func anys(s []string) []any {
	out := make([]any, len(s))
	for i := range s {
		out[i] = s[i]
	}
	return out
}

// schema describes a type where it is used.
func (d *document) schema(t reflect.Type) object {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch model.ShapeOf(t) {
	case model.String:
		s := object{"type": "string"}
		if values := model.Enum(t); len(values) > 0 {
			s["enum"] = anys(values)
		}
		return s
	case model.Boolean:
		return object{"type": "boolean"}
	case model.Integer:
		format := "int32"
		switch t.Kind() {
		case reflect.Int64, reflect.Uint64, reflect.Int:
			format = "int64"
		}
		return object{"type": "integer", "format": format}
	case model.Number:
		return object{"type": "number", "format": "double"}
	case model.Bytes:
		return object{"type": "string", "format": "byte"}
	case model.List:
		return object{"type": "array", "items": d.element(t.Elem())}
	case model.Map:
		return object{"type": "object", "additionalProperties": d.element(t.Elem())}
	case model.Anything:
		if t.Kind() != reflect.Struct || t.Name() == "" {
			return object{}
		}
	}
	name := model.Name(t)
	d.struct_(t, name)
	return d.ref(name)
}

func (d *document) element(t reflect.Type) object {
	s := d.schema(t)
	if ref, ok := s["$ref"]; ok && d.v3 && t.Kind() == reflect.Struct {
		return object{"allOf": []any{object{"$ref": ref}}, "default": object{}}
	}
	return s
}

const (
	quantityDoc    = "Quantity is a fixed-point representation of a number: a signed decimal with an optional suffix, binary (Ki, Mi, Gi, Ti, Pi, Ei), decimal (n, u, m, k, M, G, T, P, E) or an exponent. It marshals to its canonical form."
	intOrStringDoc = "IntOrString is a type that can hold an int32 or a string. When used in JSON or YAML marshalling and unmarshalling, it produces or consumes the inner type."
)

var (
	statusGVK  = schema.GroupVersionKind{Version: "v1", Kind: "Status"}
	patchModel = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch"
)

func (d *document) patch() object {
	if d.schemas[patchModel] == nil {
		d.schemas[patchModel] = object{"type": "object", "description": "Patch is provided to give a concrete name and type to the Kubernetes PATCH request body."}
	}
	return d.ref(patchModel)
}

func (d *document) status() object { return d.kind(&metav1.Status{}, statusGVK) }

func (d *document) deleteOptions(gv schema.GroupVersion) object {
	return d.kind(&metav1.DeleteOptions{}, gv.WithKind("DeleteOptions"))
}

func title(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
