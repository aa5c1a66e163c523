package openapi

import (
	"encoding/json"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"nau/internal/api"
)

func literal(doc string) any {
	var v any
	_ = json.Unmarshal([]byte(doc), &v)
	return v
}

// operation is what the paths of one resource have in common.
type operation struct {
	d    *document
	gvk  schema.GroupVersionKind
	tag  string
	base string // of operation IDs: CoreV1, AppsV1
	// patches are the media types of patches that the kind takes; clients choose by them.
	patches []string
}

var (
	bodies  = []string{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf"}
	patches = []string{"application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json", "application/apply-patch+yaml"}
	// Custom resources have no Go type that says how their lists merge.
	customPatches = []string{"application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"}
)

// paths are the paths of one group version.
func (d *document) paths(gv schema.GroupVersion, served []api.Served, foreign map[schema.GroupVersionKind]Schema) object {
	out := object{}
	root := "/apis/" + gv.Group + "/" + gv.Version
	group := strings.ReplaceAll(strings.TrimSuffix(gv.Group, ".k8s.io"), ".", "")
	if gv.Group == "" {
		root, group = "/api/v1", "core"
	}
	base := title(group) + title(gv.Version)
	for _, r := range served {
		gvk := gv.WithKind(r.Kind)
		o := &operation{d: d, gvk: gvk, tag: group + "_" + gv.Version, base: base, patches: patches}
		var one, list object
		if f, ok := foreign[gvk]; ok {
			o.patches = customPatches
			one = d.foreign(f, gvk)
			list = d.foreignList(f, gvk)
		} else {
			one = d.kind(r.Version.New(), gvk)
			list = one
			if r.Version.NewList != nil {
				list = d.kind(r.Version.NewList(), gv.WithKind(r.Kind+"List"))
			}
		}
		place, params := root+"/"+r.Plural, []any{}
		scope := ""
		if r.Namespaced {
			place, params = root+"/namespaces/{namespace}/"+r.Plural, []any{d.pathParam("namespace", "object name and auth scope, such as for teams and projects")}
			scope = "Namespaced"
			if r.Has("list") {
				out[root+"/"+r.Plural] = object{"get": o.list(list, base+r.Kind+"ForAllNamespaces"), "parameters": []any{d.param("pretty", "string", "If 'true', then the output is pretty printed.")}}
			}
		}
		coll := object{"parameters": params}
		if r.Has("list") {
			coll["get"] = o.list(list, base+scope+r.Kind)
		}
		if r.Has("create") {
			coll["post"] = o.write("create", "post", "create a "+r.Kind, base+scope+r.Kind, one, bodies, one, gvk)
		}
		if r.Has("deletecollection") {
			coll["delete"] = o.delete("deletecollection", base+"Collection"+scope+r.Kind, d.status())
		}
		if len(coll) > 1 {
			out[place] = coll
		}
		withName := append([]any{d.pathParam("name", "name of the "+r.Kind)}, params...)
		item := object{"parameters": withName}
		if r.Has("get") {
			item["get"] = o.read("get", "read the specified "+r.Kind, base+scope+r.Kind, one, gvk)
		}
		if r.Has("update") {
			item["put"] = o.write("update", "put", "replace the specified "+r.Kind, base+scope+r.Kind, one, bodies, one, gvk)
		}
		if r.Has("patch") {
			item["patch"] = o.write("patch", "patch", "partially update the specified "+r.Kind, base+scope+r.Kind, d.patch(), o.patches, one, gvk)
		}
		if r.Has("delete") {
			item["delete"] = o.delete("delete", base+scope+r.Kind, d.status())
		}
		if len(item) > 1 {
			out[place+"/{name}"] = item
		}
		for i := range r.Subresources {
			sub := &r.Subresources[i]
			out[place+"/{name}/"+sub.Name] = o.sub(sub, base+scope+r.Kind+title(sub.Name), one, withName)
		}
	}
	return out
}

func (o *operation) sub(sub *api.Subresource, id string, parent object, params []any) object {
	d := o.d
	gvk := schema.GroupVersionKind{Group: sub.Group, Version: sub.Version, Kind: sub.Kind}
	if gvk.Version == "" {
		gvk.Group, gvk.Version = o.gvk.Group, o.gvk.Version
	}
	if gvk.Kind == "" {
		gvk.Kind = o.gvk.Kind
	}
	item := object{"parameters": params}
	if sub.Connect {
		for _, verb := range []string{"get", "post"} {
			op := o.base_("connect", "connect "+strings.ToUpper(verb)+" requests to "+sub.Name+" of "+o.gvk.Kind, "connect"+title(verb)+id, gvk)
			op["responses"] = object{"200": d.response(object{"type": "string"}, "OK", "*/*"), "401": object{"description": "Unauthorized"}}
			item[verb] = op
		}
		return item
	}
	body := parent
	if sub.New != nil && gvk.Kind != o.gvk.Kind {
		if obj := sub.New(); obj != nil {
			body = d.kind(obj, gvk)
		}
	}
	for _, verb := range sub.Verbs {
		switch verb {
		case "get":
			item["get"] = o.read("get", "read "+sub.Name+" of the specified "+o.gvk.Kind, id, body, gvk)
		case "create":
			item["post"] = o.write("post", "post", "create "+sub.Name+" of a "+o.gvk.Kind, id, body, bodies, body, gvk)
		case "update":
			item["put"] = o.write("put", "put", "replace "+sub.Name+" of the specified "+o.gvk.Kind, id, body, bodies, body, gvk)
		case "patch":
			item["patch"] = o.write("patch", "patch", "partially update "+sub.Name+" of the specified "+o.gvk.Kind, id, d.patch(), o.patches, body, gvk)
		}
	}
	return item
}

func (o *operation) base_(action, text, id string, gvk schema.GroupVersionKind) object {
	return object{
		"description": text, "operationId": id, "tags": []any{o.tag},
		"x-kubernetes-action": action, "x-kubernetes-group-version-kind": gvkObject(gvk),
	}
}

func (o *operation) responses(op, body object, codes ...string) {
	out := object{"401": object{"description": "Unauthorized"}}
	texts := map[string]string{"200": "OK", "201": "Created", "202": "Accepted"}
	for _, code := range codes {
		out[code] = o.d.response(body, texts[code], bodies...)
	}
	op["responses"] = out
	if !o.d.v3 {
		op["produces"] = anys(bodies)
		op["consumes"] = []any{"*/*"}
		op["schemes"] = []any{"https"}
	}
}

func (d *document) response(body object, text string, media ...string) object {
	if !d.v3 {
		return object{"description": text, "schema": body}
	}
	content := object{}
	for _, m := range media {
		content[m] = object{"schema": body}
	}
	return object{"description": text, "content": content}
}

func (o *operation) read(action, text, id string, body object, gvk schema.GroupVersionKind) object {
	op := o.base_(action, text, "read"+id, gvk)
	op["parameters"] = []any{o.d.param("pretty", "string", "If 'true', then the output is pretty printed.")}
	o.responses(op, body, "200")
	return op
}

func (o *operation) list(body object, id string) object {
	op := o.base_("list", "list or watch objects of kind "+o.gvk.Kind, "list"+id, o.gvk)
	docs := metav1.ListOptions{}.SwaggerDoc()
	d := o.d
	op["parameters"] = []any{
		d.param("allowWatchBookmarks", "boolean", docs["allowWatchBookmarks"]), d.param("continue", "string", docs["continue"]),
		d.param("fieldSelector", "string", docs["fieldSelector"]), d.param("labelSelector", "string", docs["labelSelector"]),
		d.param("limit", "integer", docs["limit"]), d.param("resourceVersion", "string", docs["resourceVersion"]),
		d.param("resourceVersionMatch", "string", docs["resourceVersionMatch"]), d.param("sendInitialEvents", "boolean", docs["sendInitialEvents"]),
		d.param("timeoutSeconds", "integer", docs["timeoutSeconds"]), d.param("watch", "boolean", docs["watch"]),
	}
	o.responses(op, body, "200")
	return op
}

func (o *operation) write(action, method, text, id string, body object, media []string, answer object, gvk schema.GroupVersionKind) object {
	verbs := map[string]string{"post": "create", "put": "replace", "patch": "patch"}
	op := o.base_(method, text, verbs[method]+id, gvk)
	docs := metav1.PatchOptions{}.SwaggerDoc()
	d := o.d
	params := []any{
		d.param("pretty", "string", "If 'true', then the output is pretty printed."),
		d.param("dryRun", "string", docs["dryRun"]), d.param("fieldManager", "string", docs["fieldManager"]),
		d.param("fieldValidation", "string", docs["fieldValidation"]),
	}
	if method == "patch" {
		params = append(params, d.param("force", "boolean", docs["force"]))
	}
	params = d.body(op, params, body, media, true)
	op["parameters"] = params
	switch method {
	case "post":
		o.responses(op, answer, "200", "201", "202")
	default:
		o.responses(op, answer, "200", "201")
	}
	if !d.v3 && method == "patch" {
		op["consumes"] = anys(media)
	}
	return op
}

func (o *operation) delete(action, id string, answer object) object {
	op := o.base_(action, "delete "+o.gvk.Kind, "delete"+id, o.gvk)
	docs := metav1.DeleteOptions{}.SwaggerDoc()
	d := o.d
	params := []any{
		d.param("dryRun", "string", docs["dryRun"]), d.param("gracePeriodSeconds", "integer", docs["gracePeriodSeconds"]),
		d.param("orphanDependents", "boolean", docs["orphanDependents"]), d.param("propagationPolicy", "string", docs["propagationPolicy"]),
	}
	params = d.body(op, params, d.deleteOptions(o.gvk.GroupVersion()), bodies, false)
	op["parameters"] = params
	o.responses(op, answer, "200", "202")
	return op
}

// body adds the request's body: a parameter in OpenAPI 2, a member of its own in 3.
func (d *document) body(op object, params []any, schema object, media []string, required bool) []any {
	if !d.v3 {
		p := object{"name": "body", "in": "body", "schema": schema}
		if required {
			p["required"] = true
		}
		return append(params, p)
	}
	content := object{}
	for _, m := range media {
		content[m] = object{"schema": schema}
	}
	b := object{"content": content}
	if required {
		b["required"] = true
	}
	op["requestBody"] = b
	return params
}

func (d *document) param(name, kind, doc string) object {
	p := object{"name": name, "in": "query", "description": doc}
	if d.v3 {
		p["schema"] = object{"type": kind, "uniqueItems": true}
	} else {
		p["type"], p["uniqueItems"] = kind, true
	}
	return p
}

func (d *document) pathParam(name, doc string) object {
	p := object{"name": name, "in": "path", "required": true, "description": doc}
	if d.v3 {
		p["schema"] = object{"type": "string", "uniqueItems": true}
	} else {
		p["type"], p["uniqueItems"] = "string", true
	}
	return p
}

// foreign puts the schema of a custom resource into the document.
func (d *document) foreign(f Schema, gvk schema.GroupVersionKind) object {
	s := f.V3
	if !d.v3 {
		s = f.V2
	}
	d.schema(objectMetaType)
	d.schemas[f.Name] = runtime.DeepCopyJSON(s)
	d.kinds[f.Name] = []schema.GroupVersionKind{gvk}
	return d.ref(f.Name)
}

func (d *document) foreignList(f Schema, gvk schema.GroupVersionKind) object {
	meta := d.schema(listMetaType)
	name := f.Name + "List"
	d.schemas[name] = object{
		"type": "object", "description": gvk.Kind + "List is a list of " + gvk.Kind, "required": []any{"items"},
		"properties": object{
			"apiVersion": object{"type": "string", "description": metav1.TypeMeta{}.SwaggerDoc()["apiVersion"]},
			"kind":       object{"type": "string", "description": metav1.TypeMeta{}.SwaggerDoc()["kind"]},
			"metadata":   meta,
			"items":      object{"type": "array", "description": "List of " + gvk.Kind, "items": d.ref(f.Name)},
		},
	}
	lk := gvk
	lk.Kind += "List"
	d.kinds[name] = []schema.GroupVersionKind{lk}
	return d.ref(name)
}
