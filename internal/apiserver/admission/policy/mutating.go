package policy

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apiserver/pkg/cel/mutation"
	"k8s.io/apiserver/pkg/cel/mutation/dynamic"

	"nau/internal/api/expr"
	"nau/internal/apiserver/admission"
)

// Mutating changes requests by MutatingAdmissionPolicies.
type Mutating struct{ *plugin[*changing] }

// changing is a compiled policy.
type changing struct {
	*rules
	reinvoke bool
	changes  []change
}

type change struct {
	kind    admissionv1.PatchType
	program *expr.Program
}

// NewMutating makes the plugin.
func NewMutating(c Config) (*Mutating, error) {
	api := c.Informers.Admissionregistration().V1()
	policies, bindings := api.MutatingAdmissionPolicies(), api.MutatingAdmissionPolicyBindings()
	pl, bl := policies.Lister(), bindings.Lister()
	p, err := newPlugin(c, admission.Operations{admission.Create, admission.Update}, func() ([]*changing, error) {
		return compilePolicies(pl.List, bl.List, readMutating, func(b *admissionv1.MutatingAdmissionPolicyBinding) bound {
			return bound{b.Spec.PolicyName, b.Spec.MatchResources, b.Spec.ParamRef, nil}
		})
	}, policies.Informer(), bindings.Informer())
	return &Mutating{p}, err
}

func readMutating(o *admissionv1.MutatingAdmissionPolicy) *changing {
	s := &o.Spec
	ru, env := compile(o.Name, s.FailurePolicy, s.ParamKind, s.MatchConstraints, s.MatchConditions, s.Variables, true)
	j := &changing{rules: ru, reinvoke: s.ReinvocationPolicy == admissionv1.IfNeededReinvocationPolicy}
	for _, m := range s.Mutations {
		if ru.unreadable != nil {
			break
		}
		c := change{kind: m.PatchType}
		switch {
		case m.PatchType == admissionv1.PatchTypeApplyConfiguration && m.ApplyConfiguration != nil:
			c.program, ru.unreadable = env.Compile(m.ApplyConfiguration.Expression, expr.Apply)
		case m.PatchType == admissionv1.PatchTypeJSONPatch && m.JSONPatch != nil:
			c.program, ru.unreadable = env.Compile(m.JSONPatch.Expression, expr.Patch)
		default:
			ru.unreadable = fmt.Errorf("patch type %q: it has no expression", m.PatchType)
		}
		j.changes = append(j.changes, c)
	}
	return j
}

// Name implements admission.Plugin.
func (*Mutating) Name() string { return "MutatingAdmissionPolicy" }

// left is the memory of what the object was after a policy's last turn.
type left struct{ policy string }

// Admit implements admission.Mutator. Each mutation sees what those before it have made.
func (m *Mutating) Admit(ctx context.Context, r *admission.Request) error {
	policies, err := m.current()
	if err != nil {
		return err
	}
	for _, j := range policies {
		if r.Round > 0 {
			was, ok := r.Memory[left{j.name}]
			if !ok || reflect.DeepEqual(was, r.Object) {
				continue
			}
		}
		err := m.apply(ctx, j.rules, r, func(a *application) error { return j.change(ctx, a, r) })
		if err != nil && !j.closed {
			m.c.Log.Warn("go on without admission policy, as its failure policy says", "policy", j.name, "cause", err)
			err = nil
		}
		if err != nil {
			e := apierrors.NewForbidden(r.Resource.GroupResource(), r.Name, fmt.Errorf("policy '%s' denied request: %w", j.name, err))
			e.ErrStatus.Reason, e.ErrStatus.Code = metav1.StatusReasonInvalid, http.StatusUnprocessableEntity
			return e
		}
		if j.reinvoke && r.Object != nil {
			r.Remember(left{j.name}, r.Object.DeepCopyObject())
		}
	}
	return nil
}

func (j *changing) change(ctx context.Context, a *application, r *admission.Request) error {
	for _, c := range j.changes {
		got, err := c.program.Run(ctx, a.values, a.budget)
		if err != nil {
			return err
		}
		var changed bool
		if c.kind == admissionv1.PatchTypeJSONPatch {
			changed, err = patch(r, a, got)
		} else {
			changed, err = merge(r, a, got)
		}
		if err != nil {
			return fmt.Errorf("binding %s: %w", a.binding.name, err)
		}
		if !changed {
			continue
		}
		if r.Round == 0 {
			r.Again()
		}
		if err := a.renew(r); err != nil {
			return err
		}
	}
	return nil
}

// patch applies a list of JSONPatch values.
func patch(r *admission.Request, a *application, got ref.Val) (bool, error) {
	list, ok := got.(traits.Lister)
	if !ok {
		return false, fmt.Errorf("JSONPatch expression yields %s", got.Type().TypeName())
	}
	ops := []map[string]any{}
	for i := list.Iterator(); i.HasNext() == types.True; {
		v, err := i.Next().ConvertToNative(reflect.TypeOf(&mutation.JSONPatchVal{}))
		if err != nil {
			return false, fmt.Errorf("read JSONPatch: %w", err)
		}
		p := v.(*mutation.JSONPatchVal)
		op := map[string]any{"op": p.Op, "path": p.Path}
		if p.From != "" {
			op["from"] = p.From
		}
		if p.Val != nil {
			if op["value"], err = native(p.Val); err != nil {
				return false, fmt.Errorf("read value of JSONPatch: %w", err)
			}
		}
		ops = append(ops, op)
	}
	b, err := json.Marshal(ops)
	if err != nil {
		return false, err
	}
	before, err := json.Marshal(a.view.Object)
	if err != nil {
		return false, err
	}
	after, err := admission.ApplyPatch(before, b)
	if err != nil {
		return false, err
	}
	return r.Take(after, a.view.As.Kind)
}

// native is a value of an expression as documents have it.
func native(v ref.Val) (any, error) {
	switch v := v.(type) {
	case *dynamic.ObjectVal:
		return v.ConvertToNative(reflect.TypeOf(map[string]any{}))
	case types.Null:
		return nil, nil
	case types.Bool, types.Int, types.Uint, types.Double, types.String:
		return v.Value(), nil
	case traits.Mapper:
		out := map[string]any{}
		for i := v.Iterator(); i.HasNext() == types.True; {
			k := i.Next()
			name, ok := k.Value().(string)
			if !ok {
				return nil, fmt.Errorf("key %v: it is no string", k.Value())
			}
			var err error
			if out[name], err = native(v.Get(k)); err != nil {
				return nil, err
			}
		}
		return out, nil
	case traits.Lister:
		out := []any{}
		for i := v.Iterator(); i.HasNext() == types.True; {
			x, err := native(i.Next())
			if err != nil {
				return nil, err
			}
			out = append(out, x)
		}
		return out, nil
	}
	return v.ConvertToNative(reflect.TypeOf(""))
}

// merge applies the fields of an Object value as server-side apply does.
func merge(r *admission.Request, a *application, got ref.Val) (bool, error) {
	o, ok := got.(*dynamic.ObjectVal)
	if !ok {
		return false, fmt.Errorf("apply expression yields %s", got.Type().TypeName())
	}
	if err := o.CheckTypeNamesMatchFieldPathNames(); err != nil {
		return false, fmt.Errorf("type mismatch: %w", err)
	}
	v, err := o.ConvertToNative(reflect.TypeOf(map[string]any{}))
	if err != nil {
		return false, fmt.Errorf("read apply configuration: %w", err)
	}
	// Through JSON: the values that expressions make are not those of documents.
	b, err := json.Marshal(v)
	if err != nil {
		return false, err
	}
	fields := map[string]any{}
	if err := json.Unmarshal(b, &fields); err != nil {
		return false, err
	}
	for _, name := range []string{"apiVersion", "kind"} {
		if _, ok := fields[name]; ok {
			return false, fmt.Errorf("apply configuration may not set %s", name)
		}
	}
	u := &unstructured.Unstructured{Object: fields}
	u.SetGroupVersionKind(a.view.As.Kind)
	if r.Shapes == nil {
		return false, fmt.Errorf("apply fields to %s: use a JSON patch", a.view.As.Kind.Kind)
	}
	next, err := r.Shapes.Merge(r.Object, u, a.view.As.Kind)
	if err != nil {
		return false, err
	}
	return r.Replace(next)
}
