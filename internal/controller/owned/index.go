package owned

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

const byController = "controller"

// ByController finds objects by the controller that owns them, without a scan.
type ByController[T metav1.Object] struct {
	indexer cache.Indexer
}

// Pods by controller.
type Pods = ByController[*corev1.Pod]

// IndexPods adds the index to the factory's pods.
func IndexPods(f informers.SharedInformerFactory) (*Pods, error) {
	return Index[*corev1.Pod](f.Core().V1().Pods().Informer())
}

// Index adds the index to an informer, if nobody has yet.
func Index[T metav1.Object](informer cache.SharedIndexInformer) (*ByController[T], error) {
	if _, ok := informer.GetIndexer().GetIndexers()[byController]; !ok {
		err := informer.AddIndexers(cache.Indexers{byController: func(obj any) ([]string, error) {
			o, ok := obj.(T)
			if !ok {
				return nil, nil
			}
			if ref := metav1.GetControllerOfNoCopy(o); ref != nil {
				return []string{string(ref.UID)}, nil
			}
			return []string{orphansOf(o.GetNamespace())}, nil
		}})
		if err != nil {
			return nil, fmt.Errorf("index by controller: %w", err)
		}
	}
	return &ByController[T]{informer.GetIndexer()}, nil
}

func orphansOf(namespace string) string { return "none/" + namespace }

// Of are the objects that uid controls.
func (p *ByController[T]) Of(uid types.UID) []T { return p.list(string(uid)) }

// Orphans are the objects of a namespace that nobody controls.
func (p *ByController[T]) Orphans(namespace string) []T { return p.list(orphansOf(namespace)) }

func (p *ByController[T]) list(value string) []T {
	objs, err := p.indexer.ByIndex(byController, value)
	if err != nil {
		return nil // the index was made above
	}
	out := make([]T, 0, len(objs))
	for _, o := range objs {
		out = append(out, o.(T))
	}
	return out
}

// AdoptPatch makes owner the controller of the object with uid (strategic merge).
func AdoptPatch(owner metav1.Object, kind schema.GroupVersionKind, uid types.UID) []byte {
	return fmt.Appendf(nil,
		`{"metadata":{"ownerReferences":[{"apiVersion":%q,"kind":%q,"name":%q,"uid":%q,"controller":true,"blockOwnerDeletion":true}],"uid":%q}}`,
		kind.GroupVersion(), kind.Kind, owner.GetName(), owner.GetUID(), uid)
}

// ReleasePatch takes owner off the object with uid (strategic merge).
func ReleasePatch(owner metav1.Object, uid types.UID) []byte {
	return fmt.Appendf(nil, `{"metadata":{"ownerReferences":[{"$patch":"delete","uid":%q}],"uid":%q}}`, owner.GetUID(), uid)
}
