package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"
)

// Who is an authenticated caller.
type Who struct {
	Name, UID string
	Groups    []string
	Extra     map[string][]string
}

// Ask is one question: may Who do Verb on nodes/Subresource of Node.
type Ask struct {
	Who               *Who
	Verb, Node        string
	Subresource, Path string
}

// Auth asks the API server who callers are and what they may do, and remembers the answers for a short while.
type Auth struct {
	client kubernetes.Interface
	clock  clock.PassiveClock

	mu      sync.Mutex
	tokens  map[[32]byte]tokenAnswer
	answers map[string]answer
}

type tokenAnswer struct {
	who   *Who
	until time.Time
}

type answer struct {
	allowed bool
	reason  string
	until   time.Time
}

// How long answers are believed. Source: the kubelet's webhook defaults.
const (
	believeToken   = 2 * time.Minute
	believeAllowed = 5 * time.Minute
	believeDenied  = 30 * time.Second
	answersMax     = 1024
)

// Delegated returns an Auth over a client.
func Delegated(client kubernetes.Interface, c clock.PassiveClock) *Auth {
	return &Auth{client: client, clock: c, tokens: map[[32]byte]tokenAnswer{}, answers: map[string]answer{}}
}

// Authenticate knows callers by their verified client certificate, then by their bearer token.
func (a *Auth) Authenticate(r *http.Request) (*Who, bool, error) {
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		cert := r.TLS.VerifiedChains[0][0]
		return &Who{Name: cert.Subject.CommonName, Groups: append(cert.Subject.Organization, "system:authenticated")}, true, nil
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || strings.TrimSpace(token) == "" {
		return nil, false, nil
	}
	token = strings.TrimSpace(token)
	key := sha256.Sum256([]byte(token))
	now := a.clock.Now()
	a.mu.Lock()
	have, known := a.tokens[key]
	a.mu.Unlock()
	if known && now.Before(have.until) {
		return have.who, have.who != nil, nil
	}
	res, err := a.client.AuthenticationV1().TokenReviews().Create(r.Context(), &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
	if err != nil {
		return nil, false, err
	}
	var who *Who
	if res.Status.Authenticated {
		u := res.Status.User
		who = &Who{Name: u.Username, UID: u.UID, Groups: u.Groups, Extra: map[string][]string{}}
		for k, v := range u.Extra {
			who.Extra[k] = v
		}
	}
	a.mu.Lock()
	if len(a.tokens) >= answersMax {
		clear(a.tokens)
	}
	a.tokens[key] = tokenAnswer{who, now.Add(believeToken)}
	a.mu.Unlock()
	return who, who != nil, nil
}

// Authorize asks by SubjectAccessReview.
func (a *Auth) Authorize(ctx context.Context, q Ask) (bool, string, error) {
	if q.Who == nil {
		return false, "", errors.New("authorize: nobody asks")
	}
	key := strings.Join(append([]string{q.Who.Name, q.Who.UID, q.Verb, q.Node, q.Subresource}, q.Who.Groups...), "\x00")
	now := a.clock.Now()
	a.mu.Lock()
	have, known := a.answers[key]
	a.mu.Unlock()
	if known && now.Before(have.until) {
		return have.allowed, have.reason, nil
	}
	sar := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: q.Who.Name, UID: q.Who.UID, Groups: q.Who.Groups,
		ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: q.Verb, Version: "v1", Resource: "nodes", Subresource: q.Subresource, Name: q.Node}}}
	if len(q.Who.Extra) > 0 {
		sar.Spec.Extra = map[string]authorizationv1.ExtraValue{}
		for k, v := range q.Who.Extra {
			sar.Spec.Extra[k] = v
		}
	}
	res, err := a.client.AuthorizationV1().SubjectAccessReviews().Create(ctx, sar, metav1.CreateOptions{})
	if err != nil {
		return false, "", err
	}
	believe := believeDenied
	if res.Status.Allowed {
		believe = believeAllowed
	}
	a.mu.Lock()
	if len(a.answers) >= answersMax {
		clear(a.answers)
	}
	a.answers[key] = answer{res.Status.Allowed, res.Status.Reason, now.Add(believe)}
	a.mu.Unlock()
	return res.Status.Allowed, res.Status.Reason, nil
}
