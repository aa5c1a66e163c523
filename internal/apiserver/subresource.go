package apiserver

import (
	"context"
	"net/http"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"nau/internal/apiserver/admission"
	"nau/internal/apiserver/authz"
	"nau/internal/apiserver/identity"
	"nau/internal/apiserver/wire"
)

// TokenIssuer signs tokens for service accounts.
type TokenIssuer interface {
	// Issue fills the status of a request that has been defaulted and validated. Errors are API status errors.
	Issue(ctx context.Context, account *corev1.ServiceAccount, request *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error)
}

// Reviewer answers a create of a virtual resource: the object with its status filled.
type Reviewer func(ctx context.Context, user *identity.User, namespace string, obj runtime.Object) (runtime.Object, error)

// subresource answers requests below an object.
func (c *call) subresource() error {
	c.sub = c.ep.res.Subresource(c.info.Subresource)
	if c.sub == nil {
		notFoundPage(c)
		return nil
	}
	if c.sub.Connect {
		return c.connectAllowed()
	}
	if !hasVerb(c.sub.Verbs, c.info.Verb) {
		return c.notAllowed()
	}
	if c.sub.Scale != nil {
		return c.scale()
	}
	switch c.ep.gr.Resource + "/" + c.sub.Name {
	case "pods/binding":
		return c.binding()
	case "pods/eviction":
		return c.eviction()
	case "serviceaccounts/token":
		return c.token()
	}
	switch c.info.Verb {
	case "get":
		return c.get()
	case "update":
		return c.update()
	case "patch":
		return c.patch()
	}
	return c.notAllowed()
}

// connectAllowed checks what the first authorization could not know: starting a session by GET, as WebSocket clients must, is
// a create all the same.
func (c *call) connectAllowed() error {
	switch c.r.Method {
	case http.MethodGet, http.MethodPost:
	default:
		if c.sub.Name != "proxy" {
			return c.notAllowed()
		}
	}
	session := c.sub.Name == "exec" || c.sub.Name == "attach" || c.sub.Name == "portforward"
	if session && c.r.Method == http.MethodGet && strings.EqualFold(c.r.Header.Get("Upgrade"), "websocket") && c.srv.Authz != nil {
		a := authz.Attributes{User: c.user, Verb: "create", Namespace: c.info.Namespace, APIGroup: c.info.Group, APIVersion: c.info.Version,
			Resource: c.info.Resource, Subresource: c.info.Subresource, Name: c.info.Name, Path: c.info.Path, ResourceRequest: true}
		if d, reason, _ := c.srv.Authz.Authorize(c.ctx, a); d != authz.Allow {
			return authz.Forbidden(a, reason)
		}
	}
	return c.connect()
}

// subGVK is the kind of a subresource's body.
func (c *call) subGVK() schema.GroupVersionKind {
	gvk := schema.GroupVersionKind{Group: c.sub.Group, Version: c.sub.Version, Kind: c.sub.Kind}
	if gvk.Version == "" {
		gvk.Group, gvk.Version = c.ep.gvk.Group, c.ep.gvk.Version
	}
	return gvk
}

// token answers POST serviceaccounts/NAME/token.
func (c *call) token() error {
	if c.srv.Tokens == nil {
		return apierrors.NewNotFound(c.gr(), c.info.Name)
	}
	w, err := c.writer("CreateOptions")
	if err != nil {
		return err
	}
	gvk := c.subGVK()
	body, err := c.decodeBody(c.sub.New, gvk, w.writeOptions)
	if err != nil {
		return err
	}
	e, err := c.ep.open().Get(c.ctx, c.ep.key(c.namespace(), c.info.Name), 0)
	if err != nil {
		return err
	}
	account := e.Object.(*corev1.ServiceAccount)
	req := body.(*authenticationv1.TokenRequest)
	if req.Name != "" && req.Name != account.Name {
		return apierrors.NewBadRequest("the name of the object (" + req.Name + ") does not match the name on the URL (" + account.Name + ")")
	}
	req.Name, req.Namespace = account.Name, account.Namespace
	req.CreationTimestamp = c.srv.now()
	if c.sub.Default != nil {
		c.sub.Default(req)
	}
	attr := w.attributes(admission.Create, account.Name, req, nil)
	attr.Kind = gvk
	if err := c.srv.admission.Admit(c.ctx, attr); err != nil {
		return err
	}
	if c.sub.Validate != nil {
		if errs := c.sub.Validate(req); len(errs) > 0 {
			return apierrors.NewInvalid(gvk.GroupKind(), "", errs)
		}
	}
	if err := c.srv.admission.Validate(c.ctx, attr); err != nil {
		return err
	}
	out, err := c.srv.Tokens.Issue(c.ctx, account, req)
	if err != nil {
		return err
	}
	out.TypeMeta.Kind, out.TypeMeta.APIVersion = "", ""
	return c.respondObject(http.StatusCreated, out, gvk)
}

// virtual answers resources that are computed.
func (c *call) virtual() error {
	if c.ep.gr == (schema.GroupResource{Resource: "bindings"}) && c.info.Verb == "create" {
		return c.binding()
	}
	if c.ep.gr == (schema.GroupResource{Resource: "componentstatuses"}) {
		return c.componentStatuses()
	}
	review := c.srv.Virtual[c.ep.gr]
	if review == nil || c.info.Verb != "create" {
		return c.notAllowed()
	}
	// A review has no metadata: there is no table of it.
	plain, ok := wire.Negotiate(c.r.Header.Get("Accept"), nil)
	if !ok {
		return notAcceptable()
	}
	c.accept = plain
	w, err := c.writer("CreateOptions")
	if err != nil {
		return err
	}
	obj, err := c.decodeBody(c.ep.ver.New, c.ep.gvk, w.writeOptions)
	if err != nil {
		return err
	}
	if c.ep.ver.Default != nil {
		c.ep.ver.Default(obj)
	}
	m, err := meta.Accessor(obj)
	if err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	if err := c.settleNamespace(m); err != nil {
		return err
	}
	if v := c.ep.res.Strategy.Validate; v != nil {
		if errs := v(obj); len(errs) > 0 {
			return apierrors.NewInvalid(c.ep.gvk.GroupKind(), m.GetName(), errs)
		}
	}
	obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	out, err := review(c.ctx, c.user, c.namespace(), obj)
	if err != nil {
		return err
	}
	return c.respondObject(http.StatusCreated, out, c.ep.gvk)
}

// componentStatuses shows the server's parts in the deprecated form. Controllers and scheduler live in this process: where one
// ends, it ends.
func (c *call) componentStatuses() error {
	var list corev1.ComponentStatusList
	for _, part := range []struct {
		name string
		ask  func(context.Context) error
	}{
		{"controller-manager", func(context.Context) error { return nil }},
		{"etcd-0", c.srv.health.etcd},
		{"scheduler", func(context.Context) error { return nil }},
	} {
		cond := corev1.ComponentCondition{Type: corev1.ComponentHealthy, Status: corev1.ConditionTrue, Message: "ok"}
		if err := part.ask(c.ctx); err != nil {
			cond.Status, cond.Message, cond.Error = corev1.ConditionFalse, "", err.Error()
		}
		if c.info.Verb == "list" || c.info.Name == part.name {
			list.Items = append(list.Items, corev1.ComponentStatus{ObjectMeta: metav1.ObjectMeta{Name: part.name}, Conditions: []corev1.ComponentCondition{cond}})
		}
	}
	if len(list.Items) == 0 {
		return apierrors.NewNotFound(c.gr(), c.info.Name)
	}
	if c.accept.As == "Table" {
		return c.componentTable(list.Items)
	}
	if c.info.Verb == "get" {
		return c.respondObject(http.StatusOK, &list.Items[0], c.ep.gvk)
	}
	return c.respondObject(http.StatusOK, &list, c.ep.listGVK)
}

func (c *call) componentTable(items []corev1.ComponentStatus) error {
	var out metav1.Table
	for _, col := range c.ep.res.Columns {
		out.ColumnDefinitions = append(out.ColumnDefinitions, metav1.TableColumnDefinition{Name: col.Name, Type: col.Type, Format: col.Format, Description: col.Description, Priority: col.Priority})
	}
	for i := range items {
		row := metav1.TableRow{Object: runtime.RawExtension{Object: &metav1.PartialObjectMetadata{
			TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadata"}, ObjectMeta: items[i].ObjectMeta}}}
		for _, col := range c.ep.res.Columns {
			row.Cells = append(row.Cells, col.Value(&items[i], c.srv.clock()))
		}
		out.Rows = append(out.Rows, row)
	}
	return c.respondObject(http.StatusOK, &out, metav1.SchemeGroupVersion.WithKind("Table"))
}
