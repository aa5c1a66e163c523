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

// Pods finds pods by the controller that owns them, without a scan.
type Pods struct {
	indexer cache.Indexer
}

// IndexPods adds the index to the factory's pods, if nobody has yet.
func IndexPods(f informers.SharedInformerFactory) (*Pods, error) {
	informer := f.Core().V1().Pods().Informer()
	if _, ok := informer.GetIndexer().GetIndexers()[byController]; !ok {
		err := informer.AddIndexers(cache.Indexers{byController: func(obj any) ([]string, error) {
			pod, ok := obj.(*corev1.Pod)
			if !ok {
				return nil, nil
			}
			if ref := metav1.GetControllerOfNoCopy(pod); ref != nil {
				return []string{string(ref.UID)}, nil
			}
			return []string{orphansOf(pod.Namespace)}, nil
		}})
		if err != nil {
			return nil, fmt.Errorf("index pods by controller: %w", err)
		}
	}
	return &Pods{informer.GetIndexer()}, nil
}

func orphansOf(namespace string) string { return "none/" + namespace }

// Of are the pods that uid controls.
func (p *Pods) Of(uid types.UID) []*corev1.Pod { return p.list(string(uid)) }

// Orphans are the pods of a namespace that nobody controls.
func (p *Pods) Orphans(namespace string) []*corev1.Pod { return p.list(orphansOf(namespace)) }

func (p *Pods) list(value string) []*corev1.Pod {
	objs, err := p.indexer.ByIndex(byController, value)
	if err != nil {
		return nil // the index was made above
	}
	pods := make([]*corev1.Pod, 0, len(objs))
	for _, o := range objs {
		pods = append(pods, o.(*corev1.Pod))
	}
	return pods
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
