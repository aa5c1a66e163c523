package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"

	reviewv1 "k8s.io/api/admission/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/uuid"

	"nau/internal/apiserver/admission"
	"nau/internal/apiserver/admission/match"
)

// Mutating asks the mutating webhooks.
type Mutating struct{ *plugin }

// Name implements admission.Plugin.
func (*Mutating) Name() string { return "MutatingAdmissionWebhook" }

// asked is the memory of one webhook's last look at the object; it is what the object was afterwards.
type asked struct{ id string }

// Admit implements admission.Mutator. In a second round only those are asked that want to be, and only if the object is not as
// they left it.
func (m *Mutating) Admit(ctx context.Context, r *admission.Request) error {
	entries, err := m.entries.Current()
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("read mutating webhooks: %w", err))
	}
	for _, e := range entries {
		if r.Round > 0 {
			left, ok := r.Memory[asked{e.id}]
			if !ok || reflect.DeepEqual(left, r.Object) {
				continue
			}
		}
		v, err := m.relevant(ctx, e, r)
		if err != nil {
			return err
		}
		if v == nil {
			continue
		}
		a, err := m.ask(ctx, e, r, v, true)
		if err == nil && a != nil && len(a.Patch) > 0 && r.Object != nil {
			var changed bool
			if changed, err = apply(r, v, a.Patch); err != nil {
				err = m.failed(e, err)
			}
			if changed && r.Round == 0 {
				r.Again()
			}
		}
		if err != nil {
			return err
		}
		if e.reinvoke && r.Object != nil {
			r.Remember(asked{e.id}, r.Object.DeepCopyObject())
		}
	}
	return nil
}

// apply has the patch change the object in place.
func apply(r *admission.Request, v *match.View, patch []byte) (changed bool, err error) {
	before, err := json.Marshal(v.Object)
	if err != nil {
		return false, err
	}
	after, err := admission.ApplyPatch(before, patch)
	if err != nil {
		return false, err
	}
	return r.Take(after, v.As.Kind)
}

// Validating asks the validating webhooks.
type Validating struct{ *plugin }

// Name implements admission.Plugin.
func (*Validating) Name() string { return "ValidatingAdmissionWebhook" }

// Validate implements admission.Validator. All webhooks are asked at the same time, and all have answered when it returns.
func (w *Validating) Validate(ctx context.Context, r *admission.Request) error {
	entries, err := w.entries.Current()
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("read validating webhooks: %w", err))
	}
	type job struct {
		e *entry
		v *match.View
	}
	var jobs []job
	for _, e := range entries {
		v, err := w.relevant(ctx, e, r)
		if err != nil {
			return err
		}
		if v != nil {
			jobs = append(jobs, job{e, v})
		}
	}
	if len(jobs) == 0 {
		return nil
	}
	type result struct {
		a   *reviewv1.AdmissionResponse
		err error
	}
	results := make([]chan result, len(jobs))
	for i, j := range jobs {
		results[i] = make(chan result, 1)
		go func() {
			a, err := w.call(ctx, j.e, r, j.v, false)
			results[i] <- result{a, err}
		}()
	}
	var first error
	for i, j := range jobs {
		got := <-results[i]
		if _, err := w.judge(j.e, r, got.a, got.err); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// ask puts the question and judges the answer; nil without an error means that nobody could be asked and that this is fine.
func (p *plugin) ask(ctx context.Context, e *entry, r *admission.Request, v *match.View, mutating bool) (*reviewv1.AdmissionResponse, error) {
	a, err := p.call(ctx, e, r, v, mutating)
	return p.judge(e, r, a, err)
}

func (p *plugin) call(ctx context.Context, e *entry, r *admission.Request, v *match.View, mutating bool) (*reviewv1.AdmissionResponse, error) {
	if r.DryRun && !e.dryRun {
		return nil, trialUnsupported(e.name)
	}
	if e.unreadable != nil {
		return nil, e.unreadable
	}
	uid := uuid.NewUUID()
	doc, err := question(e.reviews, uid, r, v)
	if err != nil {
		return nil, err
	}
	back, err := p.c.Caller.Post(ctx, &e.target, e.timeout, doc)
	if err != nil {
		return nil, unreached{err}
	}
	return answer(back, e.reviews, uid, mutating)
}

func (p *plugin) judge(e *entry, r *admission.Request, a *reviewv1.AdmissionResponse, err error) (*reviewv1.AdmissionResponse, error) {
	if apierrors.IsBadRequest(err) {
		return nil, err
	}
	if err != nil {
		return nil, p.failed(e, err)
	}
	for k, v := range a.AuditAnnotations {
		r.Annotate(e.name+"/"+k, v)
	}
	for _, text := range a.Warnings {
		r.Warning(text)
	}
	if !a.Allowed {
		return nil, denied(e.name, a.Result)
	}
	return a, nil
}

// failed is what becomes of a call that brought no answer: by the failure policy an error, or nothing.
func (p *plugin) failed(e *entry, err error) error {
	if e.closed {
		return callFailed(e.name, err)
	}
	p.c.Log.Warn("go on without webhook, as its failure policy says", "webhook", e.name, "cause", err)
	return nil
}
