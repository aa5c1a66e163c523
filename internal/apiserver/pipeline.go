package apiserver

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"nau/internal/apiserver/authz"
	"nau/internal/apiserver/identity"
	"nau/internal/apiserver/wire"
)

// stage is one step of the way that every request goes. done means that the request has been answered.
type stage struct {
	name string
	run  func(*call) (done bool, err error)
}

// pipeline is the order of the stages; the order is the architecture. Around it stands serve, which recovers panics, answers
// errors and reports what happened to metrics and audit.
func (s *Server) pipeline() []stage {
	return []stage{
		{"locate", s.locate},             // what the URL and method say
		{"authenticate", s.authenticate}, // who asks
		{"impersonate", s.impersonate},   // for whom
		{"admit", s.admitInFlight},       // is there room
		{"deadline", s.deadline},         // until when
		{"authorize", s.authorize},       // may they
		{"negotiate", s.negotiate},       // in which form is the answer
		{"dispatch", s.dispatch},         // the handler of the verb
	}
}

// AuditEvent is one answered request.
type AuditEvent struct {
	User                                             *identity.User
	Verb, Path                                       string
	Group, Version, Resource, Subresource, Namespace string
	Name                                             string
	Code                                             int
	Start                                            time.Time
	Took                                             time.Duration
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	c := &call{srv: s, w: &recorder{ResponseWriter: w}, r: r, ctx: r.Context(), start: time.Now()}
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				s.finish(c)
				panic(p)
			}
			s.log.Error("request panicked", "method", r.Method, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
			c.fail(apierrors.NewInternalError(fmt.Errorf("this request caused apiserver to panic. Look in the logs for details")))
		}
		s.finish(c)
	}()
	for i := range s.stages {
		done, err := s.stages[i].run(c)
		if err != nil {
			c.fail(err)
			return
		}
		if done {
			return
		}
	}
}

func (s *Server) finish(c *call) {
	if c.cancel != nil {
		c.cancel()
	}
	if c.done != nil {
		c.done()
	}
	took := time.Since(c.start)
	s.metrics.observe(c, took)
	if s.Audit != nil {
		s.Audit(AuditEvent{User: c.user, Verb: c.info.Verb, Path: c.info.Path, Group: c.info.Group, Version: c.info.Version, Resource: c.info.Resource,
			Subresource: c.info.Subresource, Namespace: c.info.Namespace, Name: c.info.Name, Code: c.w.code, Start: c.start, Took: took})
	}
}

func (s *Server) locate(c *call) (bool, error) {
	c.info = locate(c.r, func() url.Values { c.readQuery(); return c.query })
	c.readQuery()
	return false, nil
}

func (c *call) readQuery() {
	if c.query == nil && c.r.URL.RawQuery != "" {
		c.query = c.r.URL.Query()
	}
}

func (s *Server) authenticate(c *call) (bool, error) {
	if u, ok := identity.UserFrom(c.ctx); ok {
		c.user = u
		return false, nil
	}
	if s.Authn == nil {
		return false, apierrors.NewUnauthorized("Unauthorized")
	}
	resp, ok, err := s.Authn.Authenticate(c.r)
	if err != nil || !ok {
		if err != nil {
			s.log.Debug("rejected credential", "path", c.info.Path, "cause", err)
		}
		return false, apierrors.NewUnauthorized("Unauthorized")
	}
	c.user = resp.User
	c.r.Header.Del("Authorization") // nothing behind this stage may see or forward it
	return false, nil
}

func (s *Server) impersonate(c *call) (bool, error) {
	if s.Authz == nil {
		return false, nil
	}
	u, err := authz.Impersonate(c.ctx, s.Authz, c.user, c.r.Header)
	if err != nil {
		return false, err
	}
	if u != nil && u != c.user {
		c.user = u
		authz.StripImpersonation(c.r.Header)
	}
	return false, nil
}

// longRunning requests hold no place in flight and have no deadline of the server's.
func (c *call) longRunning() bool {
	if c.info.Verb == "watch" {
		return true
	}
	switch c.info.Subresource {
	case "proxy", "exec", "attach", "portforward":
		return true
	case "log":
		return c.info.Resource == "pods"
	}
	return false
}

func (s *Server) admitInFlight(c *call) (bool, error) {
	if c.user.In(identity.Masters) {
		return false, nil
	}
	name, system := share(c.user)
	ok := true
	switch {
	case !c.longRunning():
		gate, places := s.reads, 1
		if c.mutating() {
			gate, places = s.writes, width(c.r.ContentLength, s.maxBody)
		}
		c.done, ok = gate.enter(c.ctx, name, system, places)
	case !system:
		c.done, ok = s.long.enter(name)
	}
	if !ok {
		return false, apierrors.NewTooManyRequests("too many requests, please try again later.", 1)
	}
	return false, nil
}

func (c *call) mutating() bool {
	switch c.info.Verb {
	case "create", "update", "patch", "delete", "deletecollection", "post", "put":
		return true
	}
	return false
}

func (s *Server) deadline(c *call) (bool, error) {
	c.ctx = identity.WithUser(c.ctx, c.user)
	if c.longRunning() {
		return false, nil
	}
	limit := s.RequestTimeout
	if len(c.query) > 0 {
		if t := c.query.Get("timeout"); t != "" {
			d, err := time.ParseDuration(t)
			if err != nil {
				return false, apierrors.NewBadRequest(fmt.Sprintf("invalid timeout specified in the request URL - error: %v", err))
			}
			if d > 0 && d < limit {
				limit = d
			}
		}
	}
	c.ctx, c.cancel = context.WithTimeout(c.ctx, limit)
	return false, nil
}

func (s *Server) authorize(c *call) (bool, error) {
	if s.Authz == nil {
		return false, nil
	}
	a := authz.Attributes{User: c.user, Verb: c.info.Verb, Path: c.info.Path}
	if i := &c.info; i.IsResource {
		a = authz.Attributes{User: c.user, Verb: i.Verb, Namespace: i.Namespace, APIGroup: i.Group, APIVersion: i.Version, Resource: i.Resource,
			Subresource: i.Subresource, Name: i.Name, Path: i.Path, ResourceRequest: true}
		if len(c.query) > 0 {
			if f := c.query.Get("fieldSelector"); f != "" {
				a.FieldSelector, _ = fields.ParseSelector(f)
			}
			if l := c.query.Get("labelSelector"); l != "" {
				a.LabelSelector, _ = labels.Parse(l)
			}
		}
	}
	decision, reason, err := s.Authz.Authorize(c.ctx, a)
	if decision == authz.Allow {
		return false, nil
	}
	if err != nil {
		s.log.Debug("authorization incomplete", "user", c.user.Name, "path", c.info.Path, "cause", err)
	}
	return false, authz.Forbidden(a, reason)
}

func (s *Server) negotiate(c *call) (bool, error) {
	header := c.r.Header.Get("Accept")
	if !c.info.IsResource {
		return false, nil // documents negotiate for themselves
	}
	if c.longRunning() && c.info.Verb != "watch" {
		return false, nil
	}
	a, ok := wire.Negotiate(header, transformable)
	if !ok {
		return false, notAcceptable()
	}
	c.accept = a
	return false, nil
}

// dispatch finds the endpoint and calls the handler of the verb.
func (s *Server) dispatch(c *call) (bool, error) {
	if !c.info.IsResource {
		return true, s.documents(c)
	}
	v := s.registry.now()
	gvr := schema.GroupVersionResource{Group: c.info.Group, Version: c.info.Version, Resource: c.info.Resource}
	c.ep = v.endpoints[gvr]
	if c.ep == nil {
		notFoundPage(c)
		return true, nil
	}
	if c.ep.ver.Deprecation != "" {
		c.warn(c.ep.ver.Deprecation)
	}
	if !c.ep.res.Namespaced && c.info.Namespace != "" && c.info.Resource != "namespaces" {
		notFoundPage(c)
		return true, nil
	}
	if c.ep.res.Namespaced && c.info.Namespace == "" && (c.info.Name != "" && c.info.Verb != "list" && c.info.Verb != "watch") {
		notFoundPage(c)
		return true, nil
	}
	if c.info.Subresource != "" {
		return true, c.subresource()
	}
	if !c.ep.res.Has(c.info.Verb) {
		return true, c.notAllowed()
	}
	if c.ep.res.Virtual {
		return true, c.virtual()
	}
	return true, c.verb()
}

func (c *call) verb() error {
	switch c.info.Verb {
	case "get":
		return c.get()
	case "list":
		return c.list()
	case "watch":
		return c.watch()
	case "create":
		if c.info.Name != "" {
			return c.notAllowed()
		}
		return c.create()
	case "update":
		if c.info.Name == "" {
			return c.notAllowed()
		}
		return c.update()
	case "patch":
		if c.info.Name == "" {
			return c.notAllowed()
		}
		return c.patch()
	case "delete":
		return c.delete()
	case "deletecollection":
		return c.deleteCollection()
	}
	return c.notAllowed()
}

func (c *call) notAllowed() error {
	return apierrors.NewMethodNotSupported(c.gr(), c.info.Verb)
}

func notFoundPage(c *call) {
	const text = "404 page not found\n"
	h := c.w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	c.w.WriteHeader(http.StatusNotFound)
	_, _ = c.w.Write([]byte(text))
}
