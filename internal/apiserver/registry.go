package apiserver

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"nau/internal/api"
	"nau/internal/apiserver/custom"
	"nau/internal/apiserver/openapi"
	"nau/internal/store"
)

// registry holds what is served. Readers see an immutable view; resources come and go while the server runs (custom
// resources), each change making a new view.
type registry struct {
	open func(*kind) *store.Collection
	drop func(prefix string) // has the store forget a collection
	mu   sync.Mutex          // held by writers
	// customs are the custom kinds by their resources; guarded by mu.
	customs map[*api.Resource]*custom.Kind
	view    atomic.Pointer[view]
}

// view is one state of the registry.
type view struct {
	generation int64
	table      []*api.Resource
	index      *api.Index
	endpoints  map[schema.GroupVersionResource]*endpoint
	kinds      map[*api.Resource]*kind
	replaced   chan struct{} // closed when the next view takes this one's place
	groups     map[string]bool
	versions   map[schema.GroupVersion]bool
	documents  documents                                  // discovery and OpenAPI of this view
	foreign    map[schema.GroupVersionKind]openapi.Schema // of kinds without a Go type
}

func newRegistry(open func(*kind) *store.Collection, drop func(prefix string)) *registry {
	r := &registry{open: open, drop: drop}
	r.view.Store(&view{replaced: make(chan struct{}), endpoints: map[schema.GroupVersionResource]*endpoint{}, kinds: map[*api.Resource]*kind{}})
	return r
}

// add serves more resources.
func (r *registry) add(resources ...*api.Resource) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.view.Load()
	return r.replace(append(slices.Clone(old.table), resources...), nil)
}

// swapCustom takes out a custom resource (nil: none) and takes in another (nil: none). The store reads the objects anew:
// what the old definition made of them, defaults and selectable fields, is forgotten.
func (r *registry) swapCustom(out *api.Resource, in *custom.Kind) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	table := slices.DeleteFunc(slices.Clone(r.view.Load().table), func(x *api.Resource) bool { return x == out })
	customs := maps.Clone(r.customs)
	delete(customs, out)
	if in != nil {
		table = append(table, in.Resource)
		if customs == nil {
			customs = map[*api.Resource]*custom.Kind{}
		}
		customs[in.Resource] = in
	}
	old, withdrawn := r.customs, r.view.Load().kinds[out]
	r.customs = customs
	if err := r.replace(table, withdrawn); err != nil {
		r.customs = old
		return err
	}
	if in != nil {
		r.view.Load().kinds[in.Resource].open()
	} else if withdrawn != nil {
		r.close(withdrawn)
	}
	return nil
}

// close has the store forget a kind's collection. Who still has the kind cannot open it again.
func (r *registry) close(k *kind) {
	k.open()
	r.drop(k.prefix())
}

// replace makes a view of table. A new kind of the same objects as withdrawn (nil: none) takes its collection's place.
func (r *registry) replace(table []*api.Resource, withdrawn *kind) error {
	old := r.view.Load()
	index, err := api.NewIndex(table)
	if err != nil {
		return err
	}
	v := &view{
		generation: old.generation + 1, table: table, index: index, replaced: make(chan struct{}),
		endpoints: map[schema.GroupVersionResource]*endpoint{}, kinds: map[*api.Resource]*kind{},
		groups: map[string]bool{}, versions: map[schema.GroupVersion]bool{},
	}
	for _, res := range table {
		k := old.kinds[res]
		if k == nil {
			open := r.open
			if withdrawn != nil && withdrawn.res.Prefix == res.Prefix {
				open = func(k *kind) *store.Collection {
					r.close(withdrawn)
					return r.open(k)
				}
			}
			k = newKind(res, open)
			k.custom = r.customs[res]
		}
		if k.custom != nil {
			if v.foreign == nil {
				v.foreign = map[schema.GroupVersionKind]openapi.Schema{}
			}
			maps.Copy(v.foreign, k.custom.Schemas())
		}
		v.kinds[res] = k
		for i := range res.Versions {
			ver := &res.Versions[i]
			if ver.Unserved {
				continue
			}
			gvr := res.GVR(ver)
			ep := old.endpoints[gvr]
			if ep == nil || ep.res != res {
				ep = newEndpoint(k, ver)
			}
			if v.endpoints[gvr] != nil {
				return fmt.Errorf("serve %s: declared twice", gvr)
			}
			v.endpoints[gvr] = ep
			v.groups[gvr.Group] = true
			v.versions[gvr.GroupVersion()] = true
		}
	}
	r.view.Store(v)
	close(old.replaced)
	return nil
}

func (r *registry) now() *view { return r.view.Load() }

// kindOf finds a built-in kind by its stored group and plural name.
func (v *view) kindOf(gr schema.GroupResource) *kind {
	for res, k := range v.kinds {
		if res.Group == gr.Group && res.Plural == gr.Resource {
			return k
		}
	}
	return nil
}

// sorted keys of a map, for stable documents.
func sortedKeys[M ~map[string]V, V any](m M) []string { return slices.Sorted(maps.Keys(m)) }
