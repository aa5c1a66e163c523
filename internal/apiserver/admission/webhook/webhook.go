// Package webhook is the two admission plugins that ask others: mutating webhooks, one after the other, and validating ones, all at
// once (KEP-492; API docs, "Dynamic Admission Control").
//
// A change of the configurations is taken in at the next request. The plugins call out through package hook and match through
// package match; cluster puts them into the chain.
package webhook

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"nau/internal/api/admissionregistration"
	"nau/internal/api/expr"
	"nau/internal/apiserver/admission"
	"nau/internal/apiserver/admission/compiled"
	"nau/internal/apiserver/admission/match"
	"nau/internal/apiserver/authz"
	"nau/internal/apiserver/hook"
)

// Config is what the plugins need; the caller starts the factory.
type Config struct {
	Informers  informers.SharedInformerFactory
	Live       kubernetes.Interface
	Authorizer authz.Authorizer
	Caller     *hook.Caller
	Log        *slog.Logger
}

// entry is one webhook of one configuration.
type entry struct {
	id, name   string
	target     hook.Target
	criteria   *match.Criteria
	conditions *match.Conditions
	closed     bool // a failure refuses the request
	reinvoke   bool
	timeout    time.Duration
	dryRun     bool // has no side effects when told that it is a trial
	reviews    string
	unreadable error // why it cannot be asked; counts as a failed call
}

// plugin is what both kinds share.
type plugin struct {
	admission.Operations
	c       Config
	matcher *match.Matcher
	entries *compiled.List[*entry]
}

func newPlugin(c Config, informer cache.SharedIndexInformer, read func() ([]*entry, error)) (*plugin, error) {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	entries, err := compiled.Follow(read, informer)
	return &plugin{Operations: admission.Operations{admission.Create, admission.Update, admission.Delete, admission.Connect}, c: c,
		matcher: match.NewMatcher(c.Informers, c.Live), entries: entries}, err
}

// declared is a webhook of either kind as its configuration has it.
type declared struct {
	config, name string
	index        int
	client       admissionv1.WebhookClientConfig
	rules        []admissionv1.RuleWithOperations
	failure      *admissionv1.FailurePolicyType
	policy       *admissionv1.MatchPolicyType
	namespaces   *metav1.LabelSelector
	objects      *metav1.LabelSelector
	effects      *admissionv1.SideEffectClass
	timeout      *int32
	reviews      []string
	conditions   []admissionv1.MatchCondition
	reinvocation *admissionv1.ReinvocationPolicyType
}

func read(d declared) *entry {
	e := &entry{
		id: fmt.Sprintf("%s/%d/%s", d.config, d.index, d.name), name: d.name,
		target:   hook.Target{CABundle: d.client.CABundle},
		closed:   d.failure == nil || *d.failure == admissionv1.Fail,
		reinvoke: d.reinvocation != nil && *d.reinvocation == admissionv1.IfNeededReinvocationPolicy,
		timeout:  10 * time.Second,
		dryRun:   d.effects != nil && (*d.effects == admissionv1.SideEffectClassNone || *d.effects == admissionv1.SideEffectClassNoneOnDryRun),
	}
	if d.timeout != nil {
		e.timeout = time.Duration(*d.timeout) * time.Second
	}
	if d.client.URL != nil {
		e.target.URL = *d.client.URL
	}
	if s := d.client.Service; s != nil {
		e.target.Namespace, e.target.Name = s.Namespace, s.Name
		if s.Port != nil {
			e.target.Port = *s.Port
		}
		if s.Path != nil {
			e.target.Path = *s.Path
		}
	}
	for _, v := range d.reviews {
		if v == "v1" || v == "v1beta1" {
			e.reviews = v
			break
		}
	}
	if e.reviews == "" {
		e.unreadable = fmt.Errorf("webhook does not accept known AdmissionReview versions (v1, v1beta1)")
	}
	var err error
	if e.criteria, err = match.New(match.Plain(d.rules), nil, d.policy, d.namespaces, d.objects); err != nil {
		e.unreadable = err
		e.criteria, _ = match.New(match.Plain(d.rules), nil, d.policy, nil, nil)
	}
	e.conditions = &match.Conditions{}
	if len(d.conditions) > 0 {
		env, err := expr.For(admissionregistration.ConditionNames)
		if err == nil {
			var c *match.Conditions
			if c, err = match.Compile(env, d.conditions); err == nil {
				e.conditions = c
			}
		}
		if err != nil {
			e.unreadable = err
		}
	}
	return e
}

// NewMutating makes the plugin of mutating webhooks.
func NewMutating(c Config) (*Mutating, error) {
	i := c.Informers.Admissionregistration().V1().MutatingWebhookConfigurations()
	lister := i.Lister()
	p, err := newPlugin(c, i.Informer(), func() ([]*entry, error) {
		all, err := lister.List(labels.Everything())
		if err != nil {
			return nil, err
		}
		slices.SortFunc(all, func(a, b *admissionv1.MutatingWebhookConfiguration) int { return strings.Compare(a.Name, b.Name) })
		var out []*entry
		for _, conf := range all {
			for n, w := range conf.Webhooks {
				out = append(out, read(declared{conf.Name, w.Name, n, w.ClientConfig, w.Rules, w.FailurePolicy, w.MatchPolicy, w.NamespaceSelector,
					w.ObjectSelector, w.SideEffects, w.TimeoutSeconds, w.AdmissionReviewVersions, w.MatchConditions, w.ReinvocationPolicy}))
			}
		}
		return out, nil
	})
	return &Mutating{p}, err
}

// NewValidating makes the plugin of validating webhooks.
func NewValidating(c Config) (*Validating, error) {
	i := c.Informers.Admissionregistration().V1().ValidatingWebhookConfigurations()
	lister := i.Lister()
	p, err := newPlugin(c, i.Informer(), func() ([]*entry, error) {
		all, err := lister.List(labels.Everything())
		if err != nil {
			return nil, err
		}
		slices.SortFunc(all, func(a, b *admissionv1.ValidatingWebhookConfiguration) int { return strings.Compare(a.Name, b.Name) })
		var out []*entry
		for _, conf := range all {
			for n, w := range conf.Webhooks {
				out = append(out, read(declared{conf.Name, w.Name, n, w.ClientConfig, w.Rules, w.FailurePolicy, w.MatchPolicy, w.NamespaceSelector,
					w.ObjectSelector, w.SideEffects, w.TimeoutSeconds, w.AdmissionReviewVersions, w.MatchConditions, nil}))
			}
		}
		return out, nil
	})
	return &Validating{p}, err
}

// relevant tells whether a webhook is to be asked about a request, and what it is to see.
func (p *plugin) relevant(ctx context.Context, e *entry, r *admission.Request) (*match.View, error) {
	as, ok, err := p.matcher.Match(ctx, e.criteria, r)
	if err != nil || !ok {
		return nil, err
	}
	v, err := match.See(r, as)
	if err != nil {
		return nil, err
	}
	if e.conditions.Len() == 0 || e.unreadable != nil {
		return v, nil
	}
	values, err := v.Values(r, p.c.Authorizer)
	if err != nil {
		return nil, err
	}
	budget := expr.ConditionBudget
	holds, err := e.conditions.Hold(ctx, values, &budget)
	if err != nil {
		if e.closed {
			return nil, conditionFailed(r, err)
		}
		p.c.Log.Warn("skip webhook whose match conditions cannot be evaluated", "webhook", e.name, "cause", err)
		return nil, nil
	}
	if !holds {
		return nil, nil
	}
	return v, nil
}
