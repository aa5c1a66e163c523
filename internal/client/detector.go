package client

import (
	"context"
	"fmt"
	"reflect"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// Detector is a [Source] for tests that tells when somebody has changed an
// object of the shared cache.
type Detector struct {
	source Source

	mu   sync.Mutex
	seen map[runtime.Object]runtime.Object // object → copy made when it was first handed out
}

// NewDetector watches over what src hands out.
func NewDetector(src Source) *Detector {
	return &Detector{source: src, seen: map[runtime.Object]runtime.Object{}}
}

// Changed describes each object that is no longer what was handed out.
func (d *Detector) Changed() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var changed []string
	for obj, was := range d.seen {
		if !reflect.DeepEqual(obj, was) {
			name := fmt.Sprintf("%T", obj)
			if m, err := meta.Accessor(was); err == nil {
				name += fmt.Sprintf(" %s/%s at %s", m.GetNamespace(), m.GetName(), m.GetResourceVersion())
			}
			changed = append(changed, name)
		}
	}
	return changed
}

func (d *Detector) saw(obj runtime.Object) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.seen[obj]; !ok {
		d.seen[obj] = obj.DeepCopyObject()
	}
}

// ListerWatcher implements [Source].
func (d *Detector) ListerWatcher(gvr schema.GroupVersionResource) cache.ListerWatcher {
	inner := d.source.ListerWatcher(gvr)
	lw := cache.ToListerWatcherWithContext(inner)
	return cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			list, err := lw.ListWithContext(ctx, o)
			if err != nil {
				return nil, err
			}
			err = meta.EachListItem(list, func(obj runtime.Object) error { d.saw(obj); return nil })
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			w, err := lw.WatchWithContext(ctx, o)
			if err != nil {
				return nil, err
			}
			return watch.Filter(w, func(e watch.Event) (watch.Event, bool) {
				if e.Type != watch.Bookmark && e.Type != watch.Error {
					d.saw(e.Object)
				}
				return e, true
			}), nil
		},
	}, inner)
}
