package client

import (
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/informers/admissionregistration"
	"k8s.io/client-go/informers/apps"
	"k8s.io/client-go/informers/autoscaling"
	"k8s.io/client-go/informers/batch"
	"k8s.io/client-go/informers/certificates"
	"k8s.io/client-go/informers/coordination"
	"k8s.io/client-go/informers/core"
	"k8s.io/client-go/informers/discovery"
	"k8s.io/client-go/informers/events"
	"k8s.io/client-go/informers/extensions"
	"k8s.io/client-go/informers/flowcontrol"
	"k8s.io/client-go/informers/internalinterfaces"
	"k8s.io/client-go/informers/networking"
	"k8s.io/client-go/informers/node"
	"k8s.io/client-go/informers/policy"
	"k8s.io/client-go/informers/rbac"
	"k8s.io/client-go/informers/resource"
	"k8s.io/client-go/informers/scheduling"
	"k8s.io/client-go/informers/storage"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/cache"
)

// factory is client-go's factory with informers that read from a [Source]. An
// informer exists from the moment somebody asks for it, and not before.
type factory struct {
	informers.SharedInformerFactory
	source Source
}

func newFactory(inner informers.SharedInformerFactory, src Source) *factory {
	return &factory{inner, src}
}

// InformerFor implements the factory's own interface; every typed informer and
// lister comes through here.
func (f *factory) InformerFor(obj runtime.Object, newFunc internalinterfaces.NewInformerFunc) cache.SharedIndexInformer {
	gvr, err := resourceOf(obj)
	if err != nil { // of no built-in kind: as the caller meant it
		return f.SharedInformerFactory.InformerFor(obj, newFunc)
	}
	return f.SharedInformerFactory.InformerFor(obj, func(_ kubernetes.Interface, resync time.Duration) cache.SharedIndexInformer {
		return cache.NewSharedIndexInformerWithOptions(f.source.ListerWatcher(gvr), obj, cache.SharedIndexInformerOptions{
			ResyncPeriod:      resync,
			Indexers:          cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc},
			ObjectDescription: gvr.String(),
		})
	})
}

// ForResource implements [informers.SharedInformerFactory].
func (f *factory) ForResource(gvr schema.GroupVersionResource) (informers.GenericInformer, error) {
	gvk, ok := kinds()[gvr]
	if !ok {
		return nil, fmt.Errorf("make informer: no built-in resource %s", gvr)
	}
	obj, err := scheme.Scheme.New(gvk)
	if err != nil {
		return nil, fmt.Errorf("make informer for %s: %w", gvr, err)
	}
	return &generic{f.InformerFor(obj, nil), gvr.GroupResource()}, nil
}

type generic struct {
	informer cache.SharedIndexInformer
	resource schema.GroupResource
}

func (g *generic) Informer() cache.SharedIndexInformer { return g.informer }

func (g *generic) Lister() cache.GenericLister {
	return cache.NewGenericLister(g.informer.GetIndexer(), g.resource)
}

// resourceOf names the resource of a built-in type. Plurals of built-in kinds
// are regular.
func resourceOf(obj runtime.Object) (schema.GroupVersionResource, error) {
	gvks, _, err := scheme.Scheme.ObjectKinds(obj)
	if err != nil {
		return schema.GroupVersionResource{}, err
	}
	plural, _ := meta.UnsafeGuessKindToResource(gvks[0])
	return plural, nil
}

// kinds of all built-in resources.
var kinds = sync.OnceValue(func() map[schema.GroupVersionResource]schema.GroupVersionKind {
	m := map[schema.GroupVersionResource]schema.GroupVersionKind{}
	for gvk := range scheme.Scheme.AllKnownTypes() {
		if gvk.Version != runtime.APIVersionInternal {
			plural, _ := meta.UnsafeGuessKindToResource(gvk)
			m[plural] = gvk
		}
	}
	return m
})

// The groups, with this factory behind them instead of the embedded one.

func (f *factory) Admissionregistration() admissionregistration.Interface {
	return admissionregistration.New(f, "", nil)
}
func (f *factory) Apps() apps.Interface                 { return apps.New(f, "", nil) }
func (f *factory) Autoscaling() autoscaling.Interface   { return autoscaling.New(f, "", nil) }
func (f *factory) Batch() batch.Interface               { return batch.New(f, "", nil) }
func (f *factory) Certificates() certificates.Interface { return certificates.New(f, "", nil) }
func (f *factory) Coordination() coordination.Interface { return coordination.New(f, "", nil) }
func (f *factory) Core() core.Interface                 { return core.New(f, "", nil) }
func (f *factory) Discovery() discovery.Interface       { return discovery.New(f, "", nil) }
func (f *factory) Events() events.Interface             { return events.New(f, "", nil) }
func (f *factory) Extensions() extensions.Interface     { return extensions.New(f, "", nil) }
func (f *factory) Flowcontrol() flowcontrol.Interface   { return flowcontrol.New(f, "", nil) }
func (f *factory) Networking() networking.Interface     { return networking.New(f, "", nil) }
func (f *factory) Node() node.Interface                 { return node.New(f, "", nil) }
func (f *factory) Policy() policy.Interface             { return policy.New(f, "", nil) }
func (f *factory) Rbac() rbac.Interface                 { return rbac.New(f, "", nil) }
func (f *factory) Resource() resource.Interface         { return resource.New(f, "", nil) }
func (f *factory) Scheduling() scheduling.Interface     { return scheduling.New(f, "", nil) }
func (f *factory) Storage() storage.Interface           { return storage.New(f, "", nil) }
