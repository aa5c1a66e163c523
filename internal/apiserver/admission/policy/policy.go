// Package policy is the admission plugins of ValidatingAdmissionPolicy and MutatingAdmissionPolicy: expressions in the API's own
// objects that judge and change requests without asking anybody (KEP-3488, KEP-3962).
//
// A change of policies or bindings is taken in at the next request. Matching is package match's, the language package expr's.
package policy

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"nau/internal/api/admissionregistration"
	"nau/internal/api/expr"
	"nau/internal/apiserver/admission"
	"nau/internal/apiserver/admission/compiled"
	"nau/internal/apiserver/admission/match"
	"nau/internal/apiserver/authz"
)

// Config is what the plugins need; the caller starts the factory.
type Config struct {
	Informers  informers.SharedInformerFactory
	Live       kubernetes.Interface
	Params     dynamic.Interface // reads the objects that policies take parameters from
	Authorizer authz.Authorizer
	Log        *slog.Logger
}

// rules is what both kinds of policies have: what they are about, and what comes before their own expressions.
type rules struct {
	name       string
	closed     bool // an error refuses the request
	criteria   *match.Criteria
	conditions *match.Conditions
	param      *admissionv1.ParamKind
	variables  []variable
	unreadable error
	bindings   []binding
}

type variable struct {
	name    string
	program *expr.Program
}

// binding puts a policy into effect for some requests, with parameters.
type binding struct {
	name     string
	criteria *match.Criteria // nil: what the policy is about
	param    *admissionv1.ParamRef
	actions  []admissionv1.ValidationAction
}

// compile reads what both kinds share and returns the environment of the expressions that follow.
func compile(name string, failure *admissionv1.FailurePolicyType, param *admissionv1.ParamKind, m *admissionv1.MatchResources,
	conditions []admissionv1.MatchCondition, variables []admissionv1.Variable, mutating bool) (*rules, *expr.Env) {
	r := &rules{name: name, closed: failure == nil || *failure == admissionv1.Fail, param: param}
	env, err := expr.For(admissionregistration.PolicyNames(param, mutating))
	if err == nil {
		r.criteria, err = criteria(m)
	}
	if err == nil {
		r.conditions, err = match.Compile(env, conditions)
	}
	for _, v := range variables {
		if err != nil {
			break
		}
		var p *expr.Program
		if p, err = env.Compile(v.Expression, expr.Any); err == nil {
			r.variables = append(r.variables, variable{v.Name, p})
			env, err = env.With(v.Name, p)
		}
	}
	r.unreadable = err
	return r, env
}

func criteria(m *admissionv1.MatchResources) (*match.Criteria, error) {
	if m == nil {
		return match.New(nil, nil, nil, nil, nil)
	}
	return match.New(m.ResourceRules, m.ExcludeResourceRules, m.MatchPolicy, m.NamespaceSelector, m.ObjectSelector)
}

// bound is what a binding of either kind says.
type bound struct {
	policy  string
	match   *admissionv1.MatchResources
	param   *admissionv1.ParamRef
	actions []admissionv1.ValidationAction
}

func (r *rules) base() *rules { return r }

func (r *rules) bind(name string, spec bound) error {
	b := binding{name: name, param: spec.param, actions: spec.actions}
	if m := spec.match; m != nil {
		rules := m.ResourceRules
		if len(rules) == 0 { // only selectors: every request that the policy is about
			everything := admissionv1.NamedRuleWithOperations{}
			everything.Operations = []admissionv1.OperationType{"*"}
			everything.APIGroups, everything.APIVersions, everything.Resources = []string{"*"}, []string{"*"}, []string{"*/*"}
			rules = append(rules, everything)
		}
		var err error
		if b.criteria, err = match.New(rules, m.ExcludeResourceRules, m.MatchPolicy, m.NamespaceSelector, m.ObjectSelector); err != nil {
			return err
		}
	}
	r.bindings = append(r.bindings, b)
	return nil
}

// plugin is what both plugins share; P is a compiled policy.
type plugin[P any] struct {
	admission.Operations
	c       Config
	matcher *match.Matcher
	list    *compiled.List[P]
}

func newPlugin[P any](c Config, ops admission.Operations, read func() ([]P, error), follow ...cache.SharedIndexInformer) (*plugin[P], error) {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	list, err := compiled.Follow(read, follow...)
	return &plugin[P]{Operations: ops, c: c, matcher: match.NewMatcher(c.Informers, c.Live), list: list}, err
}

func (p *plugin[P]) current() ([]P, error) {
	all, err := p.list.Current()
	if err != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("read admission policies: %w", err))
	}
	return all, nil
}

// compilePolicies reads all policies, by name, and tells each of the bindings that name it; P compiles a policy, B reads a binding.
func compilePolicies[O, B metav1.Object, P interface{ base() *rules }](policies func(labels.Selector) ([]O, error), bindings func(labels.Selector) ([]B, error),
	compile func(O) P, read func(B) bound) ([]P, error) {
	all, err := sorted(policies)
	if err != nil {
		return nil, err
	}
	objects, err := sorted(bindings)
	if err != nil {
		return nil, err
	}
	var out []P
	for _, o := range all {
		p := compile(o)
		for _, b := range objects {
			spec := read(b)
			if spec.policy != o.GetName() {
				continue
			}
			if err := p.base().bind(b.GetName(), spec); err != nil && p.base().unreadable == nil {
				p.base().unreadable = fmt.Errorf("binding %s: %w", b.GetName(), err)
			}
		}
		out = append(out, p)
	}
	return out, nil
}

// application is one policy with one binding and one parameter object, on one request.
type application struct {
	binding *binding
	values  expr.Values
	budget  *int64
	view    *match.View
}

// apply calls each for every binding and parameter by which the policy is about the request.
func (p *plugin[P]) apply(ctx context.Context, ru *rules, r *admission.Request, each func(*application) error) error {
	as, ok, err := p.matcher.Match(ctx, ru.criteriaOrAll(), r)
	if err != nil || !ok || len(ru.bindings) == 0 {
		return err
	}
	if ru.unreadable != nil {
		return fmt.Errorf("read policy: %w", ru.unreadable)
	}
	for i := range ru.bindings {
		b := &ru.bindings[i]
		if b.criteria != nil {
			if _, ok, err := p.matcher.Match(ctx, b.criteria, r); err != nil || !ok {
				if err != nil {
					return err
				}
				continue
			}
		}
		params, err := p.params(ctx, ru, b, r)
		if err != nil {
			return fmt.Errorf("binding %s: %w", b.name, err)
		}
		for _, param := range params {
			view, err := match.See(r, as) // anew: a mutation may have come before
			if err != nil {
				return err
			}
			values, err := view.Values(r, p.c.Authorizer)
			if err != nil {
				return err
			}
			ns, err := p.matcher.NamespaceOf(ctx, r)
			if err != nil {
				return err
			}
			values["namespaceObject"] = nil
			if ns != nil {
				if values["namespaceObject"], err = match.Content(ns); err != nil {
					return err
				}
			}
			values["params"] = nil
			if param != nil {
				values["params"] = param.Object
			}
			budget := expr.ConditionBudget
			holds, err := ru.conditions.Hold(ctx, values, &budget)
			if err != nil {
				return err
			}
			if !holds {
				continue
			}
			spend := expr.PolicyBudget
			for _, v := range ru.variables {
				values.Declare(ctx, v.name, v.program, &spend)
			}
			if err := each(&application{b, values, &spend, view}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *rules) criteriaOrAll() *match.Criteria {
	if r.criteria != nil {
		return r.criteria
	}
	c, _ := match.New(nil, nil, nil, nil, nil)
	return c
}

// params are the objects that a binding names; one nil object if the policy takes none.
func (p *plugin[P]) params(ctx context.Context, ru *rules, b *binding, r *admission.Request) ([]*unstructured.Unstructured, error) {
	if ru.param == nil {
		return []*unstructured.Unstructured{nil}, nil
	}
	ref := b.param
	if ref == nil {
		return []*unstructured.Unstructured{nil}, nil
	}
	gv, err := schema.ParseGroupVersion(ru.param.APIVersion)
	if err != nil {
		return nil, err
	}
	gvr, namespaced, err := p.resourceOf(gv.WithKind(ru.param.Kind))
	if err != nil {
		return nil, err
	}
	var from dynamic.ResourceInterface = p.c.Params.Resource(gvr)
	if namespaced {
		ns := ref.Namespace
		if ns == "" {
			ns = r.Namespace
		}
		if ns == "" {
			return nil, fmt.Errorf("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources")
		}
		from = p.c.Params.Resource(gvr).Namespace(ns)
	} else if ref.Namespace != "" {
		return nil, fmt.Errorf("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
	}
	var found []*unstructured.Unstructured
	if ref.Name != "" {
		u, err := from.Get(ctx, ref.Name, metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("get parameters %s: %w", ref.Name, err)
		}
		if err == nil {
			found = append(found, u)
		}
	} else if ref.Selector != nil {
		sel, err := metav1.LabelSelectorAsSelector(ref.Selector)
		if err != nil {
			return nil, err
		}
		list, err := from.List(ctx, metav1.ListOptions{LabelSelector: sel.String()})
		if err != nil {
			return nil, fmt.Errorf("list parameters: %w", err)
		}
		for i := range list.Items {
			found = append(found, &list.Items[i])
		}
	}
	if len(found) == 0 && (ref.ParameterNotFoundAction == nil || *ref.ParameterNotFoundAction == admissionv1.DenyAction) {
		return nil, fmt.Errorf("no params found for policy binding with `Deny` parameterNotFoundAction")
	}
	return found, nil
}

func (p *plugin[P]) resourceOf(gvk schema.GroupVersionKind) (schema.GroupVersionResource, bool, error) {
	list, err := p.c.Live.Discovery().ServerResourcesForGroupVersion(gvk.GroupVersion().String())
	if err == nil {
		for _, r := range list.APIResources {
			if r.Kind == gvk.Kind && !strings.Contains(r.Name, "/") {
				return gvk.GroupVersion().WithResource(r.Name), r.Namespaced, nil
			}
		}
	}
	if err == nil || apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
		err = fmt.Errorf("it is not served")
	}
	return schema.GroupVersionResource{}, false, fmt.Errorf("paramKind %s: %w", gvk, err)
}

// sorted lists objects by name.
func sorted[T metav1.Object](list func(labels.Selector) ([]T, error)) ([]T, error) {
	all, err := list(labels.Everything())
	slices.SortFunc(all, func(a, b T) int { return strings.Compare(a.GetName(), b.GetName()) })
	return all, err
}

// renew shows the expressions that follow the object as it is now.
func (a *application) renew(r *admission.Request) error {
	view, err := match.See(r, a.view.As)
	if err != nil {
		return err
	}
	a.view = view
	a.values["object"], err = match.Content(view.Object)
	return err
}
