package authz

import (
	"context"
	"errors"
	"slices"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"

	"nau/internal/apiserver/identity"
)

// Union asks in turn; the first that allows or denies answers. If nobody has an opinion, the reasons and errors of all are told.
type Union []Authorizer

// Authorize implements Authorizer.
func (u Union) Authorize(ctx context.Context, a Attributes) (Decision, string, error) {
	var reasons []string
	var errs []error
	for _, next := range u {
		d, reason, err := next.Authorize(ctx, a)
		if d != NoOpinion {
			return d, reason, err
		}
		if reason != "" {
			reasons = append(reasons, reason)
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	return NoOpinion, strings.Join(reasons, "\n"), errors.Join(errs...)
}

// RulesFor implements RuleResolver over those members that can.
func (u Union) RulesFor(ctx context.Context, user *identity.User, namespace string) (Rules, bool, error) {
	var all Rules
	var errs []error
	incomplete := false
	for _, next := range u {
		r, ok := next.(RuleResolver)
		if !ok {
			incomplete = true
			continue
		}
		rules, partly, err := r.RulesFor(ctx, user, namespace)
		incomplete = incomplete || partly
		if err != nil {
			errs = append(errs, err)
		}
		all.Resource = append(all.Resource, rules.Resource...)
		for _, rule := range rules.NonResource {
			// Who is granted every path twice need not be told so twice.
			if !slices.Contains(rule.NonResourceURLs, "*") || !slices.ContainsFunc(all.NonResource, func(had authorizationv1.NonResourceRule) bool {
				return slices.Equal(had.NonResourceURLs, rule.NonResourceURLs) && slices.Equal(had.Verbs, rule.Verbs)
			}) {
				all.NonResource = append(all.NonResource, rule)
			}
		}
	}
	return all, incomplete, errors.Join(errs...)
}

// Masters allows everything to members of system:masters: the way in when the roles are broken.
type Masters struct{}

// Authorize implements Authorizer.
func (Masters) Authorize(_ context.Context, a Attributes) (Decision, string, error) {
	if a.User.In(identity.Masters) {
		return Allow, "", nil
	}
	return NoOpinion, "", nil
}

// RulesFor implements RuleResolver.
func (Masters) RulesFor(_ context.Context, user *identity.User, _ string) (Rules, bool, error) {
	if !user.In(identity.Masters) {
		return Rules{}, false, nil
	}
	return everything, false, nil
}

// Always gives the same answer to everybody: for tests and for servers that are meant to be open.
type Always Decision

// Authorize implements Authorizer.
func (d Always) Authorize(context.Context, Attributes) (Decision, string, error) {
	return Decision(d), "", nil
}
