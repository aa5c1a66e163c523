package garbagecollector

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/tools/cache"
)

// kinds maps what owner references name to where it can be asked for.
type kinds map[schema.GroupKind]where

type where struct {
	resource   schema.GroupVersionResource
	namespaced bool
}

// uncollected resources are not followed: they own nothing, are owned by nobody,
// and there are many of them.
var uncollected = map[schema.GroupResource]bool{
	{Resource: "events"}:                         true,
	{Group: "events.k8s.io", Resource: "events"}: true,
}

// discover asks the server what there is, and what of it can be collected. A
// group that does not answer is left out, with an error.
func discover(client discovery.DiscoveryInterface) (kinds, map[schema.GroupVersionResource]schema.GroupVersionKind, error) {
	groups, lists, err := client.ServerGroupsAndResources()
	if lists == nil && err != nil {
		return nil, nil, fmt.Errorf("discover resources: %w", err)
	}
	preferred := map[string]bool{}
	for _, g := range groups {
		preferred[g.PreferredVersion.GroupVersion] = true
	}
	slices.SortStableFunc(lists, func(a, b *metav1.APIResourceList) int {
		switch x, y := preferred[a.GroupVersion], preferred[b.GroupVersion]; {
		case x == y:
			return 0
		case x:
			return -1
		}
		return 1
	})
	all, collected := kinds{}, map[schema.GroupVersionResource]schema.GroupVersionKind{}
	have := map[schema.GroupResource]bool{}
	for _, list := range lists {
		gv, perr := schema.ParseGroupVersion(list.GroupVersion)
		if perr != nil {
			continue
		}
		for _, r := range list.APIResources {
			gvr, gk := gv.WithResource(r.Name), schema.GroupKind{Group: gv.Group, Kind: r.Kind}
			if strings.Contains(r.Name, "/") || have[gvr.GroupResource()] {
				continue
			}
			have[gvr.GroupResource()] = true
			if _, ok := all[gk]; !ok {
				all[gk] = where{gvr, r.Namespaced}
			}
			verbs := []string(r.Verbs)
			if !uncollected[gvr.GroupResource()] && slices.Contains(verbs, "delete") && slices.Contains(verbs, "list") && slices.Contains(verbs, "watch") {
				collected[gvr] = gv.WithKind(r.Kind)
			}
		}
	}
	if err != nil {
		err = fmt.Errorf("discover resources: %w", err)
	}
	return all, collected, err
}

// monitor follows one resource into the graph. It is the store of a reflector and
// keeps no objects.
type monitor struct {
	c        *Controller
	resource schema.GroupVersionResource
	kind     schema.GroupVersionKind
	stop     context.CancelFunc
	once     sync.Once
	listed   chan struct{} // closed after the first list
}

func (m *monitor) run(ctx context.Context) {
	r := cache.NewReflectorWithOptions(m.c.cfg.ListerWatcher(m.resource), nil, m, cache.ReflectorOptions{
		Name: "garbage collector: " + m.resource.String(), TypeDescription: m.resource.String(),
	})
	r.RunWithContext(ctx)
}

// Add implements [cache.ReflectorStore].
func (m *monitor) Add(obj any) error { return m.Update(obj) }

// Update implements [cache.ReflectorStore].
func (m *monitor) Update(obj any) error {
	o, err := meta.Accessor(obj)
	if err != nil {
		return err
	}
	m.c.take(m.c.graph.observe(nodeOf(m.resource, m.kind, o)))
	m.c.kindsMayHaveChanged(m.resource)
	return nil
}

// Delete implements [cache.ReflectorStore].
func (m *monitor) Delete(obj any) error {
	o, err := meta.Accessor(obj)
	if err != nil {
		return err
	}
	m.c.take(m.c.graph.forget(o.GetUID()))
	m.c.kindsMayHaveChanged(m.resource)
	return nil
}

// Replace implements [cache.ReflectorStore].
func (m *monitor) Replace(list []any, _ string) error {
	before := m.c.graph.all(m.resource)
	for _, obj := range list {
		o, err := meta.Accessor(obj)
		if err != nil {
			return err
		}
		delete(before, o.GetUID())
		m.c.take(m.c.graph.observe(nodeOf(m.resource, m.kind, o)))
	}
	for uid := range before {
		m.c.take(m.c.graph.forget(uid))
	}
	m.once.Do(func() { close(m.listed) })
	return nil
}

// Resync implements [cache.ReflectorStore].
func (m *monitor) Resync() error { return nil }
