// Package expr is the language that objects of the API carry: CEL expressions of webhooks' match conditions and of admission
// policies, what they may name, how they are checked and what they may cost.
//
// It is pure: an expression and values in, a value out. It matches no request and reads no cluster. Validation of objects
// (package admissionregistration) and admission import it, so that what was accepted is what runs.
package expr

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	limits "k8s.io/apiserver/pkg/apis/cel"
	apicel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/common"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/apiserver/pkg/cel/lazy"
	"k8s.io/apiserver/pkg/cel/library"
	"k8s.io/apiserver/pkg/cel/mutation"
)

// Names is what an expression may name beside object, oldObject and request.
type Names struct {
	Params     bool // params
	Authorizer bool // authorizer and authorizer.requestResource
	Namespace  bool // namespaceObject
	Patches    bool // the types Object and JSONPatch
}

// Budgets in cost units, the API's documented order of magnitude: for one expression, for all match conditions of one webhook or policy, for all
// expressions of one policy binding.
const (
	ConditionBudget int64 = limits.RuntimeCELCostBudgetMatchConditions
	PolicyBudget    int64 = limits.RuntimeCELCostBudget
)

// ErrBudget is an evaluation that would have cost more than was left.
var ErrBudget = errors.New("validation failed due to running out of cost budget, no further validation rules will be run")

// Env is what one object's expressions are compiled in. Variables declared in it are seen by what is compiled later.
type Env struct {
	env       *cel.Env
	variables map[string]*apicel.DeclType
	named     Names
}

const variablesType = "kubernetes.variables"

var (
	envs   = map[Names]*Env{}
	envsMu sync.Mutex
)

// For is the environment without variables. It is made once.
func For(n Names) (*Env, error) {
	envsMu.Lock()
	defer envsMu.Unlock()
	if e := envs[n]; e != nil {
		return e, nil
	}
	request := requestType()
	base, err := environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()).Extend(environment.VersionedOptions{
		IntroducedVersion: environment.DefaultCompatibilityVersion(),
		EnvOptions: append(variables(n),
			cel.Variable("object", cel.DynType),
			cel.Variable("oldObject", cel.DynType),
			cel.Variable("request", request.CelType()),
		),
		DeclTypes: []*apicel.DeclType{request},
	})
	if err != nil {
		return nil, fmt.Errorf("build environment of expressions: %w", err)
	}
	env, err := base.Env(environment.StoredExpressions)
	if err != nil {
		return nil, fmt.Errorf("build environment of expressions: %w", err)
	}
	if env, err = patches(env, n); err != nil {
		return nil, fmt.Errorf("build environment of expressions: %w", err)
	}
	e := &Env{env: env, named: n}
	envs[n] = e
	return e, nil
}

func variables(n Names) []cel.EnvOption {
	var out []cel.EnvOption
	if n.Params {
		out = append(out, cel.Variable("params", cel.DynType))
	}
	if n.Namespace {
		out = append(out, cel.Variable("namespaceObject", cel.DynType))
	}
	if n.Authorizer {
		out = append(out, cel.Variable("authorizer", library.AuthorizerType), cel.Variable("authorizer.requestResource", library.ResourceCheckType))
	}
	return out
}

// patches adds the types that mutations make. It comes last: it wraps the environment's other types.
func patches(env *cel.Env, n Names) (*cel.Env, error) {
	if !n.Patches {
		return env, nil
	}
	return env.Extend(common.ResolverEnvOption(&mutation.DynamicTypeResolver{}), library.JSONPatch())
}

// requestType is the part of an AdmissionRequest that expressions see (API docs of MatchCondition).
func requestType() *apicel.DeclType {
	object := func(name string, of map[string]*apicel.DeclType) *apicel.DeclType {
		fields := map[string]*apicel.DeclField{}
		for n, t := range of {
			fields[n] = apicel.NewDeclField(n, t, true, nil, nil)
		}
		return apicel.NewObjectType(name, fields)
	}
	str, list := apicel.StringType, apicel.NewListType(apicel.StringType, -1)
	kind := object("kubernetes.GroupVersionKind", map[string]*apicel.DeclType{"group": str, "version": str, "kind": str})
	resource := object("kubernetes.GroupVersionResource", map[string]*apicel.DeclType{"group": str, "version": str, "resource": str})
	user := object("kubernetes.UserInfo", map[string]*apicel.DeclType{"username": str, "uid": str, "groups": list, "extra": apicel.NewMapType(str, list, -1)})
	return object("kubernetes.AdmissionRequest", map[string]*apicel.DeclType{
		"kind": kind, "resource": resource, "subResource": str, "requestKind": kind, "requestResource": resource, "requestSubResource": str,
		"name": str, "namespace": str, "operation": str, "userInfo": user, "dryRun": apicel.BoolType, "options": apicel.DynType,
	})
}

// With is the environment with one more variable, variables.NAME, of the type that p yields.
func (e *Env) With(name string, p *Program) (*Env, error) {
	known := maps.Clone(e.variables)
	if known == nil {
		known = map[string]*apicel.DeclType{}
	}
	t := apicel.DynType
	if p != nil {
		t = apicel.NewSimpleTypeWithMinSize(p.out.TypeName(), p.out, nil, 0)
	}
	known[name] = t
	fields := map[string]*apicel.DeclField{}
	for n, t := range known {
		fields[n] = apicel.NewDeclField(n, t, true, nil, nil)
	}
	object := apicel.NewObjectType(variablesType, fields)
	base, err := For(e.named)
	if err != nil {
		return nil, err
	}
	options, err := apicel.NewDeclTypeProvider(object).EnvOptions(base.env.CELTypeProvider())
	if err != nil {
		return nil, fmt.Errorf("declare variable %s: %w", name, err)
	}
	env, err := base.env.Extend(append(options, cel.Variable("variables", object.CelType()))...)
	if err != nil {
		return nil, fmt.Errorf("declare variable %s: %w", name, err)
	}
	return &Env{env: env, variables: known, named: e.named}, nil
}

// Program is a compiled expression. Many goroutines may run it.
type Program struct {
	Source string
	out    *cel.Type
	run    cel.Program
}

// Bool, Text, Patch and Apply are what expressions are asked for.
var (
	Bool  = []*cel.Type{cel.BoolType}
	Text  = []*cel.Type{cel.StringType}
	Note  = []*cel.Type{cel.StringType, cel.NullType}
	Patch = []*cel.Type{cel.ListType(types.NewObjectType(mutation.JSONPatchTypeName))}
	Apply = []*cel.Type{types.NewObjectType(mutation.ObjectTypeName)}
	// Any takes what the expression yields.
	Any []*cel.Type
)

// Compile reads an expression that must yield one of want.
func (e *Env) Compile(source string, want []*cel.Type) (*Program, error) {
	ast, issues := e.env.Compile(source)
	if issues != nil && issues.Err() != nil {
		return nil, errors.New("compilation failed: " + issues.String())
	}
	if !yields(ast.OutputType(), want) {
		if len(want) == 1 {
			return nil, fmt.Errorf("must evaluate to %v", want[0])
		}
		names := make([]string, len(want))
		for i, t := range want {
			names[i] = t.String()
		}
		return nil, fmt.Errorf("must evaluate to one of [%s]", strings.Join(names, " "))
	}
	run, err := e.env.Program(ast,
		boundedRanges(),
		cel.InterruptCheckFrequency(100),
		cel.CostLimit(limits.PerCallLimit),
		cel.CostTracking(&library.CostEstimator{}))
	if err != nil {
		return nil, fmt.Errorf("program instantiation failed: %w", err)
	}
	return &Program{Source: source, out: ast.OutputType(), run: run}, nil
}

func yields(have *cel.Type, want []*cel.Type) bool {
	if len(want) == 0 {
		return true
	}
	for _, t := range want {
		if have.IsExactType(t) || have.IsExactType(cel.DynType) {
			return true
		}
	}
	return false
}

// Values are what an expression's names stand for in one evaluation: object, oldObject, request and the others of Names.
type Values map[string]any

// Declare gives the values a variable that is computed at its first use, at most once.
func (v Values) Declare(ctx context.Context, name string, p *Program, budget *int64) {
	all, ok := v["variables"].(*lazy.MapValue)
	if !ok {
		all = lazy.NewMapValue(types.NewObjectType(variablesType))
		v["variables"] = all
	}
	all.Append(name, func(*lazy.MapValue) ref.Val {
		out, err := p.Run(ctx, v, budget)
		if err != nil {
			return types.NewErr("composited variable %q fails to evaluate: %v", name, err)
		}
		return out
	})
}

// Run evaluates within the budget, which it lowers by what was spent.
func (p *Program) Run(ctx context.Context, v Values, budget *int64) (ref.Val, error) {
	if *budget <= 0 {
		return nil, ErrBudget
	}
	out, details, err := p.run.ContextEval(ctx, map[string]any(v))
	if details != nil && details.ActualCost() != nil {
		spent := *details.ActualCost()
		if spent > uint64(*budget) {
			*budget = 0
			return nil, ErrBudget
		}
		*budget -= int64(spent)
	}
	if err != nil {
		return nil, fmt.Errorf("expression '%s' resulted in error: %w", strings.TrimSpace(p.Source), err)
	}
	return out, nil
}
