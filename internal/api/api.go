// Package api says what an object is: the vocabulary in which a resource is declared.
//
// A built-in resource is one Resource value: names, scope, versions, strategy, subresources, columns and
// selectable fields. Discovery, OpenAPI, printing, storage and RBAC bootstrap are derived from it. The
// declarations stand in one folder per API group below this one, and package builtin gathers them.
//
// It is not a server: nothing here reads the clock, the network or a disk, and every function is pure on
// its arguments. Objects are the versioned types of k8s.io/api; there are no internal hub types, the
// storage version is the shape that strategies work on. Anybody above the engine may import it.
package api

import (
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Resource declares one built-in resource. It is immutable once handed out.
type Resource struct {
	Group      string // "" for core
	Kind       string
	Plural     string // the name in URLs
	Singular   string
	ShortNames []string
	Categories []string // for `kubectl get all`
	Namespaced bool

	// Versions are the served ones, in order of preference.
	Versions []Version
	// Storage names the version of Group whose shape is stored and handed to the strategy.
	Storage string
	// Prefix is the place below /registry/, without slashes at the ends: "pods", "services/specs".
	// Empty for virtual resources.
	Prefix string
	// Virtual resources are computed, never stored (reviews, bindings, component statuses).
	Virtual bool

	// Verbs as in discovery: create, delete, deletecollection, get, list, patch, update, watch.
	Verbs        []string
	Strategy     Strategy
	Subresources []Subresource
	// Columns are the cells of `kubectl get`, in order; priority 1 means only with -o wide.
	// Value works on the storage shape. Empty means name and age.
	Columns []Column
	// Fields returns the selectable fields beside metadata.name and metadata.namespace; nil means none.
	Fields func(runtime.Object) fields.Set
	// FieldAliases maps a field label of one version to the key in Fields, where they differ
	// (events.k8s.io's regarding.name is core's involvedObject.name).
	FieldAliases map[string]string
}

// Version is one served shape of a resource.
type Version struct {
	Name  string
	Group string // only if it differs from Resource.Group (events are served in two groups)

	New     func() runtime.Object
	NewList func() runtime.Object
	// Default fills the unset fields of this version's shape, as upstream's SetDefaults; nil means none.
	Default func(runtime.Object)
	// ToStorage and FromStorage convert between this shape and the stored one. They return a new object
	// or share parts with the argument, which they never change. nil means same shape.
	ToStorage, FromStorage func(runtime.Object) (runtime.Object, error)
	// Deprecation is the text of the Warning header sent with every request; empty for none.
	Deprecation string

	// Unserved versions are known only because objects may be stored in them.
	Unserved bool
	// Columns and Fields are this version's own, where versions differ in them (custom resources); they work on this shape.
	Columns []Column
	Fields  func(runtime.Object) fields.Set
}

// Strategy is what differs between kinds on the way to the store. Nil functions mean "nothing to do".
// All functions get objects of the storage shape and own new, never old.
type Strategy struct {
	// Name is the rule for metadata.name; prefix is true when the value is a generateName.
	Name func(name string, prefix bool) []string
	// PrepareCreate clears what clients may not set (status) and sets generation.
	PrepareCreate func(obj runtime.Object)
	// PrepareUpdate keeps what clients may not change and bumps generation when the spec changed.
	PrepareUpdate func(new, old runtime.Object)
	// Validate reports everything wrong with a new object, ObjectMeta included.
	Validate func(obj runtime.Object) field.ErrorList
	// ValidateUpdate reports everything wrong with the change, the new object's own errors included.
	ValidateUpdate func(new, old runtime.Object) field.ErrorList
	// Warnings are texts for Warning headers; old is nil on create.
	Warnings func(new, old runtime.Object) []string

	CreateOnUpdate      bool // PUT on a missing name creates
	UnconditionalUpdate bool // PUT without resourceVersion overwrites
	// Grace decides on graceful deletion: the period in seconds, and whether the object stays until it
	// has passed. nil means immediate deletion.
	Grace func(obj runtime.Object, requested *int64) (seconds int64, graceful bool)
	// OrphanByDefault keeps dependents when the client names no propagation policy.
	OrphanByDefault bool
	// ResetFields are the paths that the main endpoint ignores, for managed fields: {"status"}.
	ResetFields [][]string
}

// Subresource is one endpoint below an object.
type Subresource struct {
	Name                 string
	Group, Version, Kind string // of the body, as in discovery; empty Group and Version mean the resource's own
	Verbs                []string
	// New makes the body: the kind itself for status-like ones, an options kind for connecting ones.
	New func() runtime.Object
	// Connect marks the ones that stream (exec, attach, portforward, proxy, log): New makes their options,
	// read from the query.
	Connect bool

	// For the ones that write the object itself; arguments have the storage shape.
	PrepareUpdate  func(new, old runtime.Object)
	ValidateUpdate func(new, old runtime.Object) field.ErrorList
	Warnings       func(new, old runtime.Object) []string
	ResetFields    [][]string

	// Scale is set on the scale subresource only.
	Scale *Scale
	// Validate checks the body of create-only subresources (binding, eviction, token).
	Validate func(body runtime.Object) field.ErrorList
	// Default fills the body of create-only subresources and of options.
	Default func(body runtime.Object)
}

// Scale reads and writes the replica count of an object of the storage shape.
type Scale struct {
	// Get builds spec and status; metadata is the caller's.
	Get func(obj runtime.Object) (autoscalingv1.ScaleSpec, autoscalingv1.ScaleStatus, error)
	Set func(obj runtime.Object, replicas int32)
	// Path is where the replicas are, for managed fields: {"spec", "replicas"}.
	Path []string
}

// Column is one cell of the server-side table.
type Column struct {
	Name        string
	Type        string // string, integer, date, boolean, number
	Format      string // "name" marks the name column
	Description string
	Priority    int32 // 0 always, 1 with -o wide
	// Value computes the cell: string, int64, bool or nil.
	Value func(obj runtime.Object, now time.Time) any
}

// GVK is the kind of one version.
func (r *Resource) GVK(v *Version) schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: r.groupOf(v), Version: v.Name, Kind: r.Kind}
}

// GVR is the resource of one version.
func (r *Resource) GVR(v *Version) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: r.groupOf(v), Version: v.Name, Resource: r.Plural}
}

// StorageGVK is the kind in which objects are stored.
func (r *Resource) StorageGVK() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: r.Group, Version: r.Storage, Kind: r.Kind}
}

// StorageVersion is the declaration of the stored shape; nil for virtual resources whose shape is not served.
func (r *Resource) StorageVersion() *Version {
	for i := range r.Versions {
		v := &r.Versions[i]
		if v.Name == r.Storage && r.groupOf(v) == r.Group {
			return v
		}
	}
	return nil
}

// Subresource finds one by name; nil if there is none.
func (r *Resource) Subresource(name string) *Subresource {
	for i := range r.Subresources {
		if r.Subresources[i].Name == name {
			return &r.Subresources[i]
		}
	}
	return nil
}

// Has tells whether the resource itself answers a verb.
func (r *Resource) Has(verb string) bool {
	for _, v := range r.Verbs {
		if v == verb {
			return true
		}
	}
	return false
}

func (r *Resource) groupOf(v *Version) string {
	if v.Group != "" {
		return v.Group
	}
	return r.Group
}
