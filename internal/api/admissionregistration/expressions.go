package admissionregistration

import (
	"strings"

	"github.com/google/cel-go/cel"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"nau/internal/api/expr"
)

// ConditionNames is what a webhook's match conditions may name.
var ConditionNames = expr.Names{Authorizer: true}

// PolicyNames is what a policy's expressions may name.
func PolicyNames(param *admissionregistrationv1.ParamKind, mutating bool) expr.Names {
	return expr.Names{Params: param != nil, Authorizer: true, Namespace: true, Patches: mutating}
}

// compiler checks the expressions of one object, each in the environment that the ones before have made.
type compiler struct {
	env  *expr.Env
	errs field.ErrorList
}

func newCompiler(n expr.Names) *compiler {
	env, err := expr.For(n)
	if err != nil {
		return &compiler{errs: field.ErrorList{field.InternalError(nil, err)}}
	}
	return &compiler{env: env}
}

// check compiles what is written at p. That nothing is written is somebody else's complaint.
func (c *compiler) check(p *field.Path, source string, want []*cel.Type) *expr.Program {
	if c.env == nil || strings.TrimSpace(source) == "" {
		return nil
	}
	out, err := c.env.Compile(source, want)
	if err != nil {
		c.errs = append(c.errs, field.Invalid(p, source, err.Error()))
	}
	return out
}

func (c *compiler) conditions(p *field.Path, all []admissionregistrationv1.MatchCondition) {
	for i, m := range all {
		c.check(p.Index(i).Child("expression"), m.Expression, expr.Bool)
	}
}

// variables declares each variable for what comes after it. One that does not compile is still declared: it is one error, not many.
func (c *compiler) variables(p *field.Path, all []admissionregistrationv1.Variable) {
	for i, v := range all {
		out := c.check(p.Index(i).Child("expression"), v.Expression, expr.Any)
		if c.env == nil || v.Name == "" {
			continue
		}
		env, err := c.env.With(v.Name, out)
		if err != nil {
			c.errs = append(c.errs, field.InternalError(p.Index(i), err))
			continue
		}
		c.env = env
	}
}

func checkPolicyExpressions(p *field.Path, s *admissionregistrationv1.ValidatingAdmissionPolicySpec) field.ErrorList {
	c := newCompiler(PolicyNames(s.ParamKind, false))
	c.conditions(p.Child("matchConditions"), s.MatchConditions)
	c.variables(p.Child("variables"), s.Variables)
	for i, v := range s.Validations {
		at := p.Child("validations").Index(i)
		c.check(at.Child("expression"), v.Expression, expr.Bool)
		c.check(at.Child("messageExpression"), v.MessageExpression, expr.Text)
	}
	for i, a := range s.AuditAnnotations {
		c.check(p.Child("auditAnnotations").Index(i).Child("valueExpression"), a.ValueExpression, expr.Note)
	}
	return c.errs
}

func checkMutationExpressions(p *field.Path, s *admissionregistrationv1.MutatingAdmissionPolicySpec) field.ErrorList {
	c := newCompiler(PolicyNames(s.ParamKind, true))
	c.conditions(p.Child("matchConditions"), s.MatchConditions)
	c.variables(p.Child("variables"), s.Variables)
	for i, m := range s.Mutations {
		at := p.Child("mutations").Index(i)
		if m.ApplyConfiguration != nil {
			c.check(at.Child("applyConfiguration", "expression"), m.ApplyConfiguration.Expression, expr.Apply)
		}
		if m.JSONPatch != nil {
			c.check(at.Child("jsonPatch", "expression"), m.JSONPatch.Expression, expr.Patch)
		}
	}
	return c.errs
}
