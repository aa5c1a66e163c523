package policy

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"nau/internal/api/expr"
	"nau/internal/apiserver/admission"
)

// Validating judges requests by ValidatingAdmissionPolicies.
type Validating struct{ *plugin[*judging] }

// judging is a compiled policy.
type judging struct {
	*rules
	validations []validation
	notes       []variable
}

type validation struct {
	admissionv1.Validation
	holds, message *expr.Program // message may be nil
}

// NewValidating makes the plugin.
func NewValidating(c Config) (*Validating, error) {
	api := c.Informers.Admissionregistration().V1()
	policies, bindings := api.ValidatingAdmissionPolicies(), api.ValidatingAdmissionPolicyBindings()
	pl, bl := policies.Lister(), bindings.Lister()
	p, err := newPlugin(c, admission.Operations{admission.Create, admission.Update, admission.Delete, admission.Connect}, func() ([]*judging, error) {
		return compilePolicies(pl.List, bl.List, readValidating, func(b *admissionv1.ValidatingAdmissionPolicyBinding) bound {
			return bound{b.Spec.PolicyName, b.Spec.MatchResources, b.Spec.ParamRef, b.Spec.ValidationActions}
		})
	}, policies.Informer(), bindings.Informer())
	return &Validating{p}, err
}

func readValidating(o *admissionv1.ValidatingAdmissionPolicy) *judging {
	s := &o.Spec
	ru, env := compile(o.Name, s.FailurePolicy, s.ParamKind, s.MatchConstraints, s.MatchConditions, s.Variables, false)
	j := &judging{rules: ru}
	keep := func(p *expr.Program, err error) *expr.Program {
		if err != nil && ru.unreadable == nil {
			ru.unreadable = err
		}
		return p
	}
	if ru.unreadable != nil {
		return j
	}
	for _, v := range s.Validations {
		c := validation{Validation: v, holds: keep(env.Compile(v.Expression, expr.Bool))}
		if v.MessageExpression != "" {
			c.message = keep(env.Compile(v.MessageExpression, expr.Text))
		}
		j.validations = append(j.validations, c)
	}
	for _, a := range s.AuditAnnotations {
		j.notes = append(j.notes, variable{a.Key, keep(env.Compile(a.ValueExpression, expr.Note))})
	}
	return j
}

// Name implements admission.Plugin.
func (*Validating) Name() string { return "ValidatingAdmissionPolicy" }

// failure is one validation that does not hold, or could not be decided.
type failure struct {
	policy, binding string
	index           int
	message         string
	reason          metav1.StatusReason
	actions         []admissionv1.ValidationAction
}

// Validate implements admission.Validator.
func (v *Validating) Validate(ctx context.Context, r *admission.Request) error {
	policies, err := v.current()
	if err != nil {
		return err
	}
	var denied []failure
	for _, j := range policies {
		err := v.apply(ctx, j.rules, r, func(a *application) error {
			for _, f := range j.judge(ctx, a, r) {
				if slices.Contains(f.actions, admissionv1.Deny) {
					denied = append(denied, f)
				}
				if slices.Contains(f.actions, admissionv1.Warn) {
					r.Warning(fmt.Sprintf("Validation failed for ValidatingAdmissionPolicy '%s' with binding '%s': %s", f.policy, f.binding, f.message))
				}
				if slices.Contains(f.actions, admissionv1.Audit) {
					note, _ := json.Marshal([]map[string]any{{"message": f.message, "policy": f.policy, "binding": f.binding, "expressionIndex": f.index, "validationActions": f.actions}})
					r.Annotate("validation.policy.admission.k8s.io/validation_failure", string(note))
				}
			}
			return nil
		})
		if err != nil {
			if !j.closed {
				v.c.Log.Warn("go on without admission policy, as its failure policy says", "policy", j.name, "cause", err)
				continue
			}
			denied = append(denied, failure{policy: j.name, message: err.Error(), reason: metav1.StatusReasonInvalid})
		}
	}
	if len(denied) == 0 {
		return nil
	}
	return refusal(r, denied)
}

// judge evaluates the validations of one application.
func (j *judging) judge(ctx context.Context, a *application, r *admission.Request) []failure {
	var out []failure
	for i := range j.validations {
		c := &j.validations[i]
		f := failure{policy: j.name, binding: a.binding.name, index: i, actions: a.binding.actions, reason: metav1.StatusReasonInvalid}
		if c.Reason != nil {
			f.reason = *c.Reason
		}
		got, err := c.holds.Run(ctx, a.values, a.budget)
		switch {
		case err != nil && !j.closed:
			continue
		case err != nil:
			f.message, f.reason = err.Error(), metav1.StatusReasonInvalid
		default:
			if holds, ok := got.Value().(bool); ok && holds {
				continue
			}
			f.message = c.text(ctx, a)
		}
		out = append(out, f)
	}
	for _, n := range j.notes {
		if got, err := n.program.Run(ctx, a.values, a.budget); err == nil {
			if text, ok := got.Value().(string); ok && text != "" {
				r.Annotate(j.name+"/"+n.name, text)
			}
		}
	}
	return out
}

// maxMessage bounds what a message expression may say.
const maxMessage = 5 << 10

// text is what is said of a failed validation: its message expression's, its message, or the expression itself.
func (c *validation) text(ctx context.Context, a *application) string {
	if c.message != nil {
		if got, err := c.message.Run(ctx, a.values, a.budget); err == nil {
			if s, ok := got.Value().(string); ok {
				if s = strings.TrimSpace(s); s != "" && len(s) <= maxMessage && !strings.Contains(s, "\n") {
					return s
				}
			}
		}
	}
	if c.Message != "" {
		return strings.TrimSpace(c.Message)
	}
	return "failed expression: " + strings.TrimSpace(c.Expression)
}

// refusal is the answer: the first failure's message and reason, with all of them as causes.
func refusal(r *admission.Request, all []failure) error {
	f := all[0]
	text := fmt.Sprintf("ValidatingAdmissionPolicy '%s' with binding '%s' denied request: %s", f.policy, f.binding, f.message)
	if f.binding == "" {
		text = fmt.Sprintf("ValidatingAdmissionPolicy '%s' denied request: %s", f.policy, f.message)
	}
	err := apierrors.NewForbidden(r.Resource.GroupResource(), r.Name, fmt.Errorf("%s", text))
	err.ErrStatus.Reason = f.reason
	switch f.reason {
	case metav1.StatusReasonForbidden:
		err.ErrStatus.Code = http.StatusForbidden
	case metav1.StatusReasonUnauthorized:
		err.ErrStatus.Code = http.StatusUnauthorized
	case metav1.StatusReasonRequestEntityTooLarge:
		err.ErrStatus.Code = http.StatusRequestEntityTooLarge
	default:
		err.ErrStatus.Code = http.StatusUnprocessableEntity
	}
	for _, f := range all {
		err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{
			Message: fmt.Sprintf("ValidatingAdmissionPolicy '%s' with binding '%s' denied request: %s", f.policy, f.binding, f.message)})
	}
	return err
}
