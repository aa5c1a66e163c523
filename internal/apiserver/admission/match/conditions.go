package match

import (
	"context"
	"errors"
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"nau/internal/api/expr"
	"nau/internal/apiserver/admission"
	"nau/internal/apiserver/authz"
)

// Conditions are a webhook's or policy's match conditions, compiled.
type Conditions struct {
	names    []string
	programs []*expr.Program
}

// Compile reads match conditions.
func Compile(env *expr.Env, list []admissionv1.MatchCondition) (*Conditions, error) {
	c := &Conditions{}
	for _, m := range list {
		p, err := env.Compile(m.Expression, expr.Bool)
		if err != nil {
			return nil, fmt.Errorf("match condition %s: %w", m.Name, err)
		}
		c.names = append(c.names, m.Name)
		c.programs = append(c.programs, p)
	}
	return c, nil
}

// Len is how many there are.
func (c *Conditions) Len() int { return len(c.programs) }

// Hold tells whether all conditions hold. One that is false settles it, whatever errors the others make (API docs).
func (c *Conditions) Hold(ctx context.Context, v expr.Values, budget *int64) (bool, error) {
	var errs []error
	for i, p := range c.programs {
		out, err := p.Run(ctx, v, budget)
		if err != nil {
			errs = append(errs, fmt.Errorf("match condition %q: %w", c.names[i], err))
			continue
		}
		if holds, ok := out.Value().(bool); ok && !holds {
			return false, nil
		} else if !ok {
			errs = append(errs, fmt.Errorf("match condition %q: it yields %s, not bool", c.names[i], out.Type().TypeName()))
		}
	}
	return len(errs) == 0, errors.Join(errs...)
}

// View is a request as one webhook or policy sees it.
type View struct {
	As             admission.Served
	Object, Before runtime.Object // kind set; nil for none
}

// See makes the view in the version that Match found.
func See(r *admission.Request, as admission.Served) (*View, error) {
	v := &View{As: as}
	var err error
	if v.Object, err = shape(r, r.Object, as.Kind); err != nil {
		return nil, err
	}
	v.Before, err = shape(r, r.OldObject, as.Kind)
	return v, err
}

func shape(r *admission.Request, obj runtime.Object, kind schema.GroupVersionKind) (runtime.Object, error) {
	if obj == nil {
		return nil, nil
	}
	if r.Shapes != nil {
		return r.Shapes.To(obj, kind)
	}
	out := obj.DeepCopyObject()
	out.GetObjectKind().SetGroupVersionKind(kind)
	return out, nil
}

// User is who asks, as reviews and expressions show them.
func User(r *admission.Request) authenticationv1.UserInfo {
	u := authenticationv1.UserInfo{}
	if r.User != nil {
		u.Username, u.UID, u.Groups = r.User.Name, r.User.UID, r.User.Groups
		for k, v := range r.User.Extra {
			if u.Extra == nil {
				u.Extra = map[string]authenticationv1.ExtraValue{}
			}
			u.Extra[k] = v
		}
	}
	return u
}

// Values are what expressions see of a request in a view.
func (v *View) Values(r *admission.Request, z authz.Authorizer) (expr.Values, error) {
	object, err := content(v.Object)
	if err != nil {
		return nil, err
	}
	before, err := content(v.Before)
	if err != nil {
		return nil, err
	}
	options, err := content(r.Options)
	if err != nil {
		return nil, err
	}
	who, check := authorizerOf(r, z)
	return expr.Values{
		"object": object, "oldObject": before, "request": request(r, v.As, options), "authorizer": who, "authorizer.requestResource": check,
	}, nil
}

func content(obj runtime.Object) (any, error) {
	if obj == nil {
		return nil, nil
	}
	if u, ok := obj.(runtime.Unstructured); ok {
		return u.UnstructuredContent(), nil
	}
	return runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
}

// Content is an object as expressions see it; nil for none.
func Content(obj runtime.Object) (any, error) { return content(obj) }

func request(r *admission.Request, as admission.Served, options any) map[string]any {
	kind := func(k schema.GroupVersionKind) map[string]any {
		return map[string]any{"group": k.Group, "version": k.Version, "kind": k.Kind}
	}
	resource := func(g schema.GroupVersionResource) map[string]any {
		return map[string]any{"group": g.Group, "version": g.Version, "resource": g.Resource}
	}
	u := User(r)
	groups := make([]any, len(u.Groups))
	for i, g := range u.Groups {
		groups[i] = g
	}
	extra := map[string]any{}
	for k, v := range u.Extra {
		list := make([]any, len(v))
		for i, x := range v {
			list[i] = x
		}
		extra[k] = list
	}
	return map[string]any{
		"kind": kind(as.Kind), "resource": resource(as.Resource), "subResource": r.Subresource,
		"requestKind": kind(r.Kind), "requestResource": resource(r.Resource), "requestSubResource": r.Subresource,
		"name": r.Name, "namespace": r.Namespace, "operation": string(r.Operation), "dryRun": r.DryRun, "options": options,
		"userInfo": map[string]any{"username": u.Username, "uid": u.UID, "groups": groups, "extra": extra},
	}
}
