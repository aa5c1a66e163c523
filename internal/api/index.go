package api

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Group is an API group in discovery.
type Group struct {
	Name string // "" for core
	// Priority orders groups, highest first (upstream's groupPriorityMinimum on APIServices).
	Priority int32
	Versions []GroupVersion // in order of preference
}

// GroupVersion is one version of a group with what it serves.
type GroupVersion struct {
	schema.GroupVersion
	Priority  int32 // upstream's versionPriority on APIServices
	Resources []Served
}

// Served is a resource as one version shows it.
type Served struct {
	*Resource
	Version *Version
}

// Index answers lookups on a table. It is immutable and safe for concurrent use.
type Index struct {
	table  []*Resource
	byGVR  map[schema.GroupVersionResource]Served
	byGVK  map[schema.GroupVersionKind]Served
	byGR   map[schema.GroupResource]*Resource
	groups []Group
}

// groupPriorities are upstream's, so that discovery lists groups in the order that kubectl's short
// names depend on. Groups that are not here come last, by name.
var groupPriorities = map[string]int32{
	"":                             18000,
	"apiregistration.k8s.io":       18000,
	"apps":                         17800,
	"events.k8s.io":                17750,
	"authentication.k8s.io":        17700,
	"authorization.k8s.io":         17600,
	"autoscaling":                  17500,
	"batch":                        17400,
	"certificates.k8s.io":          17300,
	"networking.k8s.io":            17200,
	"policy":                       17100,
	"rbac.authorization.k8s.io":    17000,
	"storage.k8s.io":               16800,
	"admissionregistration.k8s.io": 16700,
	"apiextensions.k8s.io":         16700,
	"scheduling.k8s.io":            16600,
	"coordination.k8s.io":          16500,
	"node.k8s.io":                  16300,
	"discovery.k8s.io":             16200,
	"resource.k8s.io":              16200,
	"flowcontrol.apiserver.k8s.io": 16100,
}

// versionPriorities are upstream's: GA 15, a newer GA 30, beta 9.
var versionPriorities = map[string]int32{"v2": 30, "v1": 15, "v1beta1": 9}

// NewIndex builds the lookups. Two resources that claim the same name are an error.
func NewIndex(table []*Resource) (*Index, error) {
	x := &Index{
		table: slices.Clone(table),
		byGVR: map[schema.GroupVersionResource]Served{},
		byGVK: map[schema.GroupVersionKind]Served{},
		byGR:  map[schema.GroupResource]*Resource{},
	}
	groups := map[string]map[string][]Served{}
	for _, r := range table {
		for i := range r.Versions {
			v := &r.Versions[i]
			if v.Unserved {
				continue
			}
			gvr, gvk := r.GVR(v), r.GVK(v)
			if _, taken := x.byGVR[gvr]; taken {
				return nil, fmt.Errorf("index resource %s: declared twice", gvr)
			}
			s := Served{Resource: r, Version: v}
			x.byGVR[gvr] = s
			if _, taken := x.byGVK[gvk]; !taken {
				x.byGVK[gvk] = s
			}
			x.byGR[gvr.GroupResource()] = r
			if groups[gvr.Group] == nil {
				groups[gvr.Group] = map[string][]Served{}
			}
			groups[gvr.Group][gvr.Version] = append(groups[gvr.Group][gvr.Version], s)
		}
	}
	for name, versions := range groups {
		g := Group{Name: name, Priority: groupPriorities[name]}
		for version, served := range versions {
			slices.SortFunc(served, func(a, b Served) int { return strings.Compare(a.Plural, b.Plural) })
			g.Versions = append(g.Versions, GroupVersion{
				GroupVersion: schema.GroupVersion{Group: name, Version: version},
				Priority:     versionPriorities[version],
				Resources:    served,
			})
		}
		slices.SortFunc(g.Versions, func(a, b GroupVersion) int {
			if a.Priority != b.Priority {
				return int(b.Priority - a.Priority)
			}
			return strings.Compare(a.Version, b.Version)
		})
		x.groups = append(x.groups, g)
	}
	slices.SortFunc(x.groups, func(a, b Group) int {
		if a.Priority != b.Priority {
			return int(b.Priority - a.Priority)
		}
		return strings.Compare(a.Name, b.Name)
	})
	return x, nil
}

// Table returns the resources in the order of declaration.
func (x *Index) Table() []*Resource { return x.table }

// Groups returns all groups, the preferred first: core, then upstream's order.
func (x *Index) Groups() []Group { return x.groups }

// Resource finds what serves a group, version and plural name.
func (x *Index) Resource(gvr schema.GroupVersionResource) (Served, bool) {
	s, ok := x.byGVR[gvr]
	return s, ok
}

// Kind finds what serves a group, version and kind.
func (x *Index) Kind(gvk schema.GroupVersionKind) (Served, bool) {
	s, ok := x.byGVK[gvk]
	return s, ok
}

// GroupResource finds a resource whatever its version.
func (x *Index) GroupResource(gr schema.GroupResource) (*Resource, bool) {
	r, ok := x.byGR[gr]
	return r, ok
}
