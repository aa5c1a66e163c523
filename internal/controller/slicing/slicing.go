// Package slicing lays endpoints out over endpoint slices, changing as few of them
// as it can. It is pure; the controllers that write slices share it, and nobody
// else.
package slicing

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// perSlice endpoints at most, so that one endpoint's change stays a small write.
const perSlice = 100

// Plan is what to do with slices.
type Plan struct {
	Create, Update, Remove []*discoveryv1.EndpointSlice
}

// Group is the endpoints of one address family that have the same ports.
type Group struct {
	Family    discoveryv1.AddressType
	Ports     []discoveryv1.EndpointPort
	Endpoints []discoveryv1.Endpoint
}

// Make gives a slice for a group, complete but for its name.
type Make func(Group) *discoveryv1.EndpointSlice

// LayOut adds to the plan what turns the slices there are into those that hold
// the groups. Each family in keep has a slice at the end, an empty one if need be.
func (p *Plan) LayOut(groups []*Group, have []*discoveryv1.EndpointSlice, keep []discoveryv1.AddressType, of Make) {
	existing := map[string][]*discoveryv1.EndpointSlice{}
	for _, slice := range have {
		key := Key(slice.AddressType, slice.Ports)
		existing[key] = append(existing[key], slice)
	}
	served := map[discoveryv1.AddressType]bool{}
	slices.SortFunc(groups, func(a, b *Group) int { return cmp.Compare(Key(a.Family, a.Ports), Key(b.Family, b.Ports)) })
	for _, g := range groups {
		key := Key(g.Family, g.Ports)
		p.fill(*g, existing[key], of)
		delete(existing, key)
		served[g.Family] = true
	}
	// What is left has no endpoints.
	for _, key := range slices.Sorted(maps.Keys(existing)) {
		for _, slice := range existing[key] {
			if family := slice.AddressType; served[family] || !slices.Contains(keep, family) {
				p.Remove = append(p.Remove, slice)
			} else {
				served[family] = true
				p.put(slice, of(Group{Family: family}))
			}
		}
	}
	for _, family := range keep {
		if !served[family] {
			p.Create = append(p.Create, of(Group{Family: family}))
		}
	}
}

// fill keeps endpoints where they are, fills gaps, then makes new slices, and
// removes what has become empty.
func (p *Plan) fill(g Group, have []*discoveryv1.EndpointSlice, of Make) {
	want := map[string]discoveryv1.Endpoint{}
	var order []string
	for _, e := range g.Endpoints {
		id := identity(&e)
		if _, ok := want[id]; !ok {
			order = append(order, id)
		}
		want[id] = e
	}
	slices.SortFunc(have, func(a, b *discoveryv1.EndpointSlice) int { return cmp.Compare(a.Name, b.Name) })
	kept := make([][]discoveryv1.Endpoint, len(have))
	for i, slice := range have {
		for j := range slice.Endpoints {
			id := identity(&slice.Endpoints[j])
			if e, ok := want[id]; ok && len(kept[i]) < perSlice {
				kept[i] = append(kept[i], e)
				delete(want, id)
			}
		}
	}
	var rest []discoveryv1.Endpoint
	for _, id := range order {
		if e, ok := want[id]; ok {
			rest = append(rest, e)
		}
	}
	take := func(n int) []discoveryv1.Endpoint {
		n = min(n, len(rest))
		taken := rest[:n]
		rest = rest[n:]
		return taken
	}
	// Slices that change anyway are filled first, the fullest that fits next.
	byRoom := make([]int, len(have))
	for i := range byRoom {
		byRoom[i] = i
	}
	sort.SliceStable(byRoom, func(a, b int) bool {
		x, y := byRoom[a], byRoom[b]
		cx, cy := len(kept[x]) != len(have[x].Endpoints), len(kept[y]) != len(have[y].Endpoints)
		if cx != cy {
			return cx
		}
		return len(kept[x]) > len(kept[y])
	})
	for _, i := range byRoom {
		kept[i] = append(kept[i], take(perSlice-len(kept[i]))...)
	}
	for i, slice := range have {
		if len(kept[i]) == 0 {
			p.Remove = append(p.Remove, slice)
		} else {
			p.put(slice, of(Group{g.Family, g.Ports, kept[i]}))
		}
	}
	for len(rest) > 0 {
		p.Create = append(p.Create, of(Group{g.Family, g.Ports, take(perSlice)}))
	}
}

// put plans an update of a slice if it is not as it should be.
func (p *Plan) put(slice, want *discoveryv1.EndpointSlice) {
	if equality.Semantic.DeepEqual(slice.Endpoints, want.Endpoints) && equality.Semantic.DeepEqual(slice.Ports, want.Ports) &&
		maps.Equal(slice.Labels, want.Labels) && maps.Equal(slice.Annotations, want.Annotations) {
		return
	}
	changed := slice.DeepCopy()
	changed.Labels, changed.Annotations, changed.Endpoints, changed.Ports = want.Labels, want.Annotations, want.Endpoints, want.Ports
	p.Update = append(p.Update, changed)
}

// GenerateName leaves room for the suffix in a name of 63 characters at most.
func GenerateName(service string) string {
	const longest = 57
	if len(service) > longest {
		service = strings.TrimRight(service[:longest], "-.")
	}
	return service + "-"
}

// Key is the same for endpoints that may share a slice.
func Key(family discoveryv1.AddressType, ports []discoveryv1.EndpointPort) string {
	parts := make([]string, len(ports))
	for i, p := range ports {
		parts[i] = fmt.Sprintf("%s/%s/%d/%s", deref(p.Name), deref(p.Protocol), deref(p.Port), deref(p.AppProtocol))
	}
	slices.Sort(parts)
	return string(family) + " " + strings.Join(parts, " ")
}

func deref[T any](p *T) (zero T) {
	if p == nil {
		return zero
	}
	return *p
}

// identity of an endpoint that stays itself while its conditions change.
func identity(e *discoveryv1.Endpoint) string {
	id := strings.Join(e.Addresses, ",")
	if e.TargetRef != nil {
		id += " " + string(e.TargetRef.UID)
	}
	return id
}
