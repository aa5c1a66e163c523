// Package admission changes and judges objects on their way into the store, after authorization: one plugin a concern, in
// upstream's order.
//
// Plugins see objects in their storage version, read the cluster through client-go's listers, and never reach the store.
// Apiserver calls the chain, cluster assembles it.
package admission

import (
	"context"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"nau/internal/apiserver/identity"
)

// Operation is what a request does to an object.
type Operation string

// The operations, named as in admission.k8s.io.
const (
	Create  Operation = "CREATE"
	Update  Operation = "UPDATE"
	Delete  Operation = "DELETE"
	Connect Operation = "CONNECT"
)

// Request is one write on its way to the store.
type Request struct {
	Kind        schema.GroupVersionKind
	Resource    schema.GroupVersionResource
	Subresource string
	// Name is empty for a create with generateName until the server fills it.
	Name      string
	Namespace string
	Operation Operation
	// Object is what will be stored; mutators change it in place. Nil for a delete. For a subresource it is the subresource's own kind
	// (Binding, Eviction, Scale, TokenRequest) or the parent (status).
	Object runtime.Object
	// OldObject is what is stored, read only. Nil for a create and connect.
	OldObject runtime.Object
	// Options is *metav1.CreateOptions, UpdateOptions, PatchOptions or DeleteOptions.
	Options runtime.Object
	User    *identity.User
	DryRun  bool
	// Warn adds a Warning header to the answer. May be nil.
	Warn func(text string)
	// Note adds an annotation to the request's audit event. May be nil.
	Note func(key, value string)
	// Shapes are the forms in which others may see the object. Nil for bodies that have one only.
	Shapes Shapes

	// Round counts how often the mutators have been gone through: 0, or 1 when a plugin asked for another time with Again.
	Round int
	again bool
	// Memory holds what plugins remember from one round to the next, by a key of theirs.
	Memory map[any]any
}

// Shapes are the forms that a resource's served versions give its objects.
type Shapes interface {
	// Served lists the versions, in order of preference.
	Served() []Served
	// To gives a stored object in the shape of one version, kind and apiVersion set. It is the caller's to keep and read only.
	To(obj runtime.Object, kind schema.GroupVersionKind) (runtime.Object, error)
	// From reads a document of one version as a request's body is read: pruned, defaulted, brought to the stored shape.
	From(doc []byte, kind schema.GroupVersionKind) (runtime.Object, error)
	// Merge merges fields into an object of one version as server-side apply does.
	Merge(obj, fields runtime.Object, kind schema.GroupVersionKind) (runtime.Object, error)
}

// Served is a resource in one version.
type Served struct {
	Resource schema.GroupVersionResource
	Kind     schema.GroupVersionKind
}

// Again asks for a second round: the plugin changed the object after plugins before it had seen it.
func (r *Request) Again() { r.again = true }

// Remember keeps a value of a plugin's for the next round.
func (r *Request) Remember(key, value any) {
	if r.Memory == nil {
		r.Memory = map[any]any{}
	}
	r.Memory[key] = value
}

// Annotate adds an annotation to the audit event, if anybody writes one.
func (r *Request) Annotate(key, value string) {
	if r.Note != nil {
		r.Note(key, value)
	}
}

// Is tells whether the request is for the resource itself (subresource "") or one of its subresources, whatever the version.
func (r *Request) Is(group, resource, subresource string) bool {
	return r.Resource.Resource == resource && r.Resource.Group == group && r.Subresource == subresource
}

// Warning adds a Warning header to the answer, if anybody listens.
func (r *Request) Warning(text string) {
	if r.Warn != nil {
		r.Warn(text)
	}
}

// Plugin is one concern. It also implements Mutator, Validator or both.
type Plugin interface {
	Name() string
	Handles(op Operation) bool
}

// Mutator may change r.Object. Errors are apimachinery's API status errors; any other is answered as 500.
type Mutator interface {
	Admit(ctx context.Context, r *Request) error
}

// Validator judges r.Object as it will be stored.
type Validator interface {
	Validate(ctx context.Context, r *Request) error
}

// Chain is the plugins in their order; the order is the architecture.
type Chain []Plugin

// Admit runs the mutators, each on what the one before left, and once more if one asks for it. It stops at the first error.
func (c Chain) Admit(ctx context.Context, r *Request) error {
	if err := c.round(ctx, r); err != nil || !r.again {
		return err
	}
	r.Round++
	return c.round(ctx, r)
}

func (c Chain) round(ctx context.Context, r *Request) error {
	for _, p := range c {
		m, ok := p.(Mutator)
		if !ok || !p.Handles(r.Operation) {
			continue
		}
		if err := m.Admit(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// Validate runs the validators and stops at the first error.
func (c Chain) Validate(ctx context.Context, r *Request) error {
	for _, p := range c {
		v, ok := p.(Validator)
		if !ok || !p.Handles(r.Operation) {
			continue
		}
		if err := v.Validate(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// Handles tells whether any plugin handles the operation, so that a caller can save itself a deep copy.
func (c Chain) Handles(op Operation) bool {
	return slices.ContainsFunc(c, func(p Plugin) bool { return p.Handles(op) })
}

// Settler is a plugin that must hear how a request ended: settled is called once after the store has answered (quota gives
// back what a failed write had reserved).
type Settler interface {
	Settle(ctx context.Context, r *Request, err error)
}

// Settle tells every Settler how the request ended.
func (c Chain) Settle(ctx context.Context, r *Request, err error) {
	for _, p := range c {
		if s, ok := p.(Settler); ok && p.Handles(r.Operation) {
			s.Settle(ctx, r, err)
		}
	}
}

// Operations is a set of operations for a plugin to embed; it answers Handles.
type Operations []Operation

// Handles tells whether op is in the set.
func (o Operations) Handles(op Operation) bool { return slices.Contains(o, op) }
