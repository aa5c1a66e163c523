// Package custom makes a resource of the table out of a CustomResourceDefinition: schema, defaults, pruning, validation, columns,
// status and scale.
//
// It is pure: definition in, resource out. It watches nothing and serves nothing; apiserver registers what it makes. Only
// apiserver imports it.
package custom

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	openapiv2 "k8s.io/apiextensions-apiserver/pkg/controller/openapi/v2"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	runtimeschema "k8s.io/apimachinery/pkg/runtime/schema"

	"nau/internal/api"
	"nau/internal/apiserver/openapi"
)

// Kind is a custom resource ready to be served.
type Kind struct {
	Resource   *api.Resource
	versions   map[string]*version
	conversion *conversion // nil: strategy None
}

// version is what one served version knows of its objects.
type version struct {
	structural *schema.Structural // nil: anything goes
	preserve   bool
	judge      *judge
	status     bool // has the subresource
}

// New reads a definition. Its names must have been accepted. Conversion webhooks are called through post; nil has them fail.
func New(crd *apiextv1.CustomResourceDefinition, post Poster) (*Kind, error) {
	k := &Kind{versions: map[string]*version{}, conversion: newConversion(crd, post)}
	names := crd.Spec.Names
	res := &api.Resource{
		Group: crd.Spec.Group, Kind: names.Kind, Plural: names.Plural, Singular: names.Singular, ShortNames: names.ShortNames,
		Categories: names.Categories, Namespaced: crd.Spec.Scope == apiextv1.NamespaceScoped,
		Prefix: crd.Spec.Group + "/" + names.Plural, Verbs: api.AllVerbs,
	}
	k.Resource = res
	hasStatus, scales := false, map[string]*apiextv1.CustomResourceSubresourceScale{}
	for i := range crd.Spec.Versions {
		v := &crd.Spec.Versions[i]
		if v.Storage {
			res.Storage = v.Name
		}
		ver, err := newVersion(v, res, crd.Spec.PreserveUnknownFields)
		if err != nil {
			return nil, fmt.Errorf("read schema of %s %s: %w", crd.Name, v.Name, err)
		}
		k.versions[v.Name] = ver
		gvk := runtimeschema.GroupVersionKind{Group: crd.Spec.Group, Version: v.Name, Kind: names.Kind}
		av := api.Version{Name: v.Name, Unserved: !v.Served, New: func() runtime.Object {
			u := &unstructured.Unstructured{Object: map[string]any{}}
			u.SetGroupVersionKind(gvk)
			return u
		}, Default: ver.fill, Columns: columns(v.AdditionalPrinterColumns), Fields: selectable(v.SelectableFields)}
		if v.Deprecated {
			av.Deprecation = gvk.GroupVersion().String() + " " + names.Kind + " is deprecated"
			if v.DeprecationWarning != nil {
				av.Deprecation = *v.DeprecationWarning
			}
		}
		if s := v.Subresources; s != nil {
			ver.status = s.Status != nil
			hasStatus = hasStatus || ver.status
			if s.Scale != nil {
				scales[v.Name] = s.Scale
			}
		}
		res.Versions = append(res.Versions, av)
	}
	if hasStatus {
		res.Subresources = append(res.Subresources, status(k, names.Kind))
	}
	if len(scales) > 0 {
		res.Subresources = append(res.Subresources, scale(scales))
	}
	res.Strategy = k.strategy(hasStatus)
	return k, nil
}

func newVersion(v *apiextv1.CustomResourceDefinitionVersion, res *api.Resource, preserve bool) (*version, error) {
	ver := &version{preserve: preserve}
	if v.Schema == nil || v.Schema.OpenAPIV3Schema == nil {
		ver.preserve = true
		return ver, nil
	}
	var internal apiext.JSONSchemaProps
	if err := apiextv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(v.Schema.OpenAPIV3Schema, &internal, nil); err != nil {
		return nil, err
	}
	s, err := schema.NewStructural(&internal)
	if err != nil {
		return nil, err
	}
	ver.structural = s
	ver.judge, err = newJudge(&internal, s)
	return ver, err
}

// fill sets the schema's defaults.
func (v *version) fill(obj runtime.Object) {
	if u, ok := obj.(*unstructured.Unstructured); ok && v.structural != nil {
		defaulting.Default(u.Object, v.structural)
		defaulting.PruneNonNullableNullsWithoutDefaults(u.Object, v.structural)
	}
}

// Prune drops what the schema does not know and returns the paths of what it dropped. Malformed metadata is an error.
func (k *Kind) Prune(u *unstructured.Unstructured) (unknown []string, err error) {
	if meta, ok := u.Object["metadata"]; ok {
		m, ok := meta.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("metadata: expected an object, found %T", meta)
		}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(m, &metav1.ObjectMeta{}); err != nil {
			return nil, fmt.Errorf("metadata: %w", err)
		}
	}
	v := k.versions[u.GroupVersionKind().Version]
	if v == nil || v.structural == nil || v.preserve {
		return nil, nil
	}
	return pruning.PruneWithOptions(u.Object, v.structural, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}), nil
}

// Schemas describe the kind for OpenAPI.
func (k *Kind) Schemas() map[runtimeschema.GroupVersionKind]openapi.Schema {
	out := map[runtimeschema.GroupVersionKind]openapi.Schema{}
	for name, v := range k.versions {
		gvk := runtimeschema.GroupVersionKind{Group: k.Resource.Group, Version: name, Kind: k.Resource.Kind}
		out[gvk] = openapi.Schema{
			Name: modelName(gvk),
			V3:   v.describe(false), V2: v.describe(true),
		}
	}
	return out
}

func modelName(gvk runtimeschema.GroupVersionKind) string {
	parts := strings.Split(gvk.Group, ".")
	for i, j := 0, len(parts)-1; i < j; i, j = i+1, j-1 {
		parts[i], parts[j] = parts[j], parts[i]
	}
	return strings.Join(parts, ".") + "." + gvk.Version + "." + gvk.Kind
}

// describe is the schema as a document has it, with the fields that every object has.
func (v *version) describe(old bool) map[string]any {
	out := map[string]any{"type": "object"}
	if v.structural == nil {
		if !old {
			out["x-kubernetes-preserve-unknown-fields"] = true
		}
		return out
	}
	s := v.structural
	refs := "#/components/schemas/"
	if old {
		refs = "#/definitions/"
		if v.preserve || s.XPreserveUnknownFields {
			return out
		}
		s = openapiv2.ToStructuralOpenAPIV2(s)
	}
	b, err := json.Marshal(s.ToKubeOpenAPI())
	if err != nil || json.Unmarshal(b, &out) != nil {
		return map[string]any{"type": "object"}
	}
	props, _ := out["properties"].(map[string]any)
	if props == nil {
		props = map[string]any{}
		out["properties"] = props
	}
	docs := metav1.TypeMeta{}.SwaggerDoc()
	props["apiVersion"] = map[string]any{"type": "string", "description": docs["apiVersion"]}
	props["kind"] = map[string]any{"type": "string", "description": docs["kind"]}
	meta := map[string]any{"$ref": refs + "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}
	if !old {
		meta = map[string]any{"allOf": []any{meta}}
	}
	meta["description"] = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"
	props["metadata"] = meta
	return out
}

// strategy is how custom objects are written.
func (k *Kind) strategy(hasStatus bool) api.Strategy {
	s := api.Strategy{
		Name: apivalidation.NameIsDNSSubdomain,
		PrepareCreate: func(obj runtime.Object) {
			u := obj.(*unstructured.Unstructured)
			if k.hasStatus(u) {
				delete(u.Object, "status")
			}
			u.SetGeneration(1)
		},
		PrepareUpdate: func(new, old runtime.Object) {
			n, o := new.(*unstructured.Unstructured), old.(*unstructured.Unstructured)
			if k.hasStatus(n) {
				keepField(n, o, "status")
			}
			n.SetGeneration(o.GetGeneration())
			if !sameBut(n, o, "metadata") {
				n.SetGeneration(o.GetGeneration() + 1)
			}
		},
		Validate:            k.validate,
		ValidateUpdate:      k.validateUpdate,
		UnconditionalUpdate: false,
		CreateOnUpdate:      false,
	}
	if hasStatus {
		s.ResetFields = [][]string{{"status"}}
	}
	return s
}

func (k *Kind) hasStatus(u *unstructured.Unstructured) bool {
	v := k.versions[u.GroupVersionKind().Version]
	return v != nil && v.status
}

func keepField(n, o *unstructured.Unstructured, name string) {
	if v, ok := o.Object[name]; ok {
		n.Object[name] = runtime.DeepCopyJSONValue(v)
	} else {
		delete(n.Object, name)
	}
}

// sameBut compares two objects but for one member.
func sameBut(n, o *unstructured.Unstructured, but string) bool {
	for _, pair := range [][2]*unstructured.Unstructured{{n, o}, {o, n}} {
		for name, v := range pair[0].Object {
			if name == but || name == "apiVersion" || name == "kind" {
				continue
			}
			if w, ok := pair[1].Object[name]; !ok || !reflect.DeepEqual(v, w) {
				return false
			}
		}
	}
	return true
}

// selectable reads the selectable fields (KEP-4358).
func selectable(list []apiextv1.SelectableField) func(runtime.Object) fields.Set {
	if len(list) == 0 {
		return nil
	}
	return func(obj runtime.Object) fields.Set {
		u := obj.(*unstructured.Unstructured)
		set := fields.Set{}
		for _, f := range list {
			name := strings.TrimPrefix(f.JSONPath, ".")
			v, _, _ := unstructured.NestedFieldNoCopy(u.Object, strings.Split(name, ".")...)
			if v == nil {
				v = ""
			}
			set[name] = fmt.Sprint(v)
		}
		return set
	}
}
