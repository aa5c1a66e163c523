package custom

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apiextv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/client-go/util/jsonpath"

	"nau/internal/api"
)

// status is the subresource that writes .status and nothing else.
func status(k *Kind, kind string) api.Subresource {
	return api.Subresource{
		Name: "status", Kind: kind, Verbs: api.StatusVerbs,
		PrepareUpdate: func(new, old runtime.Object) {
			n, o := new.(*unstructured.Unstructured), old.(*unstructured.Unstructured)
			fields := n.GetManagedFields()
			st, has := n.Object["status"]
			n.Object = runtime.DeepCopyJSON(o.Object)
			if has {
				n.Object["status"] = st
			} else {
				delete(n.Object, "status")
			}
			n.SetManagedFields(fields)
		},
		ValidateUpdate: k.validateUpdate,
		ResetFields:    [][]string{{"spec"}, {"metadata"}},
	}
}

func path(jsonPath string) []string { return strings.Split(strings.TrimPrefix(jsonPath, "."), ".") }

// scale maps three paths of the object, which each version may have elsewhere, to autoscaling/v1.
func scale(by map[string]*apiextv1.CustomResourceSubresourceScale) api.Subresource {
	of := func(obj runtime.Object) (*unstructured.Unstructured, *apiextv1.CustomResourceSubresourceScale, error) {
		u := obj.(*unstructured.Unstructured)
		s := by[u.GroupVersionKind().Version]
		if s == nil {
			return nil, nil, fmt.Errorf("scale %s: %s declares no scale", u.GetName(), u.GroupVersionKind().GroupVersion())
		}
		return u, s, nil
	}
	var spec []string // for managed fields; versions that differ in it are seldom
	for _, s := range by {
		spec = path(s.SpecReplicasPath)
	}
	return api.Subresource{
		Name: "scale", Group: "autoscaling", Version: "v1", Kind: "Scale", Verbs: api.StatusVerbs, New: api.New[autoscalingv1.Scale](),
		Scale: &api.Scale{
			Path: spec,
			Get: func(obj runtime.Object) (autoscalingv1.ScaleSpec, autoscalingv1.ScaleStatus, error) {
				u, s, err := of(obj)
				if err != nil {
					return autoscalingv1.ScaleSpec{}, autoscalingv1.ScaleStatus{}, err
				}
				want, _, err := unstructured.NestedInt64(u.Object, path(s.SpecReplicasPath)...)
				if err != nil {
					return autoscalingv1.ScaleSpec{}, autoscalingv1.ScaleStatus{}, err
				}
				have, _, _ := unstructured.NestedInt64(u.Object, path(s.StatusReplicasPath)...)
				st := autoscalingv1.ScaleStatus{Replicas: int32(have)}
				if s.LabelSelectorPath != nil {
					st.Selector, _, _ = unstructured.NestedString(u.Object, path(*s.LabelSelectorPath)...)
				}
				return autoscalingv1.ScaleSpec{Replicas: int32(want)}, st, nil
			},
			Set: func(obj runtime.Object, replicas int32) {
				if u, s, err := of(obj); err == nil {
					_ = unstructured.SetNestedField(u.Object, int64(replicas), path(s.SpecReplicasPath)...)
				}
			},
		},
	}
}

// columns are name, the declared ones, and age if none is declared.
func columns(declared []apiextv1.CustomResourceColumnDefinition) []api.Column {
	name := api.Column{Name: "Name", Type: "string", Format: "name", Description: metav1.ObjectMeta{}.SwaggerDoc()["name"], Value: func(o runtime.Object, _ time.Time) any {
		return o.(*unstructured.Unstructured).GetName()
	}}
	if len(declared) == 0 {
		declared = []apiextv1.CustomResourceColumnDefinition{{Name: "Age", Type: "date", Description: metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"], JSONPath: ".metadata.creationTimestamp"}}
	}
	out := []api.Column{name}
	for _, d := range declared {
		p := jsonpath.New(d.Name).AllowMissingKeys(true)
		if err := p.Parse("{" + d.JSONPath + "}"); err != nil {
			continue
		}
		out = append(out, api.Column{Name: d.Name, Type: d.Type, Format: d.Format, Description: d.Description, Priority: d.Priority,
			Value: func(o runtime.Object, now time.Time) any { return cell(p, d.Type, o.(*unstructured.Unstructured), now) }})
	}
	return out
}

func cell(p *jsonpath.JSONPath, kind string, u *unstructured.Unstructured, now time.Time) any {
	found, err := p.FindResults(u.UnstructuredContent())
	if err != nil || len(found) == 0 || len(found[0]) == 0 {
		return nil
	}
	if kind == "string" {
		var b bytes.Buffer
		if len(found[0]) == 1 {
			v := found[0][0].Interface()
			switch v.(type) {
			case map[string]any, []any:
				j, _ := json.Marshal(v)
				return string(j)
			}
			return fmt.Sprint(v)
		}
		if err := p.PrintResults(&b, found[0]); err != nil {
			return nil
		}
		return b.String()
	}
	v := found[0][0].Interface()
	switch kind {
	case "integer":
		switch n := v.(type) {
		case int64:
			return n
		case float64:
			return int64(n)
		}
	case "number":
		switch v.(type) {
		case int64, float64:
			return v
		}
	case "boolean":
		if b, ok := v.(bool); ok {
			return b
		}
	case "date":
		s, _ := v.(string)
		t, err := time.Parse(time.RFC3339, s)
		if err != nil {
			return "<invalid>"
		}
		return duration.HumanDuration(now.Sub(t))
	}
	return nil
}
