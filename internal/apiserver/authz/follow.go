package authz

import (
	"fmt"

	"k8s.io/client-go/tools/cache"
)

// index is what answers are looked up in: it takes objects in, changed ones too, and out.
type index interface {
	Set(obj any)
	Remove(obj any)
}

// follow keeps an index at what the informers see. The answer tells whether the first lists have arrived.
func follow(what string, x index, from ...cache.SharedIndexInformer) (cache.InformerSynced, error) {
	var all []cache.InformerSynced
	for _, i := range from {
		reg, err := i.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    x.Set,
			UpdateFunc: func(_, now any) { x.Set(now) },
			DeleteFunc: func(obj any) {
				if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
					obj = gone.Obj
				}
				x.Remove(obj)
			},
		})
		if err != nil {
			return nil, fmt.Errorf("follow %s: %w", what, err)
		}
		all = append(all, reg.HasSynced)
	}
	return func() bool {
		for _, synced := range all {
			if !synced() {
				return false
			}
		}
		return true
	}, nil
}
