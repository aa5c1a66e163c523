// Package authz decides whether a user may do what a request asks: RBAC, the node authorizer, their union, the access review
// kinds and impersonation.
//
// It reads roles and pods through client-go's listers and informers, never the store, and changes nothing. Only apiserver,
// admission and cluster import it.
package authz

import (
	"context"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"nau/internal/apiserver/identity"
)

// Decision is an authorizer's answer.
type Decision int

// NoOpinion lets the next authorizer speak; if nobody has an opinion, the answer is no.
const (
	NoOpinion Decision = iota
	Allow
	Deny
)

func (d Decision) String() string {
	switch d {
	case Allow:
		return "allow"
	case Deny:
		return "deny"
	}
	return "no opinion"
}

// Attributes describe one request to authorize. Verb is the API's (get, list, watch, create, update, patch, delete,
// deletecollection, use, bind, …), or the lower-case HTTP method when ResourceRequest is false and Path counts.
type Attributes struct {
	User            *identity.User
	Verb            string
	Namespace       string
	APIGroup        string
	APIVersion      string
	Resource        string
	Subresource     string
	Name            string
	Path            string
	ResourceRequest bool
	// LabelSelector and FieldSelector are those of a list, watch or deletecollection; nil when the request has none or they do not parse.
	LabelSelector labels.Selector
	FieldSelector fields.Selector
}

// Authorizer gives its opinion on one request. The reason is for humans. An error beside NoOpinion says what could not be
// evaluated; beside Allow it does not matter.
type Authorizer interface {
	Authorize(ctx context.Context, a Attributes) (decision Decision, reason string, err error)
}

// RuleResolver lists what a user may do in a namespace, for SelfSubjectRulesReview and escalation checks. Incomplete tells that an
// authorizer could not enumerate its rules, or that err stopped it half way.
type RuleResolver interface {
	RulesFor(ctx context.Context, user *identity.User, namespace string) (rules Rules, incomplete bool, err error)
}

// Rules is a list of permissions, without order.
type Rules struct {
	Resource    []authorizationv1.ResourceRule
	NonResource []authorizationv1.NonResourceRule
}

// Func is a function as an Authorizer.
type Func func(ctx context.Context, a Attributes) (Decision, string, error)

// Authorize calls f.
func (f Func) Authorize(ctx context.Context, a Attributes) (Decision, string, error) {
	return f(ctx, a)
}
