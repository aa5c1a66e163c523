// Package owned is what controllers of owned objects have in common: the index of
// pods by their controller, the patches that adopt and release, and expectations,
// which bridge the time between an action and its appearance in the caches.
// Controllers import it; it decides nothing.
package owned

import (
	"k8s.io/client-go/tools/cache"

	"nau/internal/controller/loop"
)

// Changes is an informer's handler with types: before is nil for an addition,
// after for a deletion.
func Changes[T any](f func(before, after *T)) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) {
			if t, ok := obj.(*T); ok {
				f(nil, t)
			}
		},
		UpdateFunc: func(old, new any) {
			before, ok1 := old.(*T)
			after, ok2 := new.(*T)
			if ok1 && ok2 {
				f(before, after)
			}
		},
		DeleteFunc: func(obj any) {
			if t, ok := loop.Last(obj).(*T); ok {
				f(t, nil)
			}
		},
	}
}

// Key is the queue's name for an object: NAMESPACE/NAME, or NAME.
func Key(o interface {
	GetNamespace() string
	GetName() string
}) string {
	if ns := o.GetNamespace(); ns != "" {
		return ns + "/" + o.GetName()
	}
	return o.GetName()
}

// Split parts a key; the namespace is empty for a cluster-scoped object.
func Split(key string) (namespace, name string) {
	namespace, name, _ = cache.SplitMetaNamespaceKey(key)
	return namespace, name
}
