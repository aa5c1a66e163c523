package admission

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/utils/clock"
	"k8s.io/utils/lru"
)

// staleFor is how long after a namespace's deletion was asked for its informer is not believed.
const staleFor = 30 * time.Second

// NamespaceLifecycle refuses objects in namespaces that do not exist, new ones in namespaces that are going, and the deletion of the
// namespaces that a cluster cannot do without.
type NamespaceLifecycle struct {
	Operations
	namespaces corelisters.NamespaceLister
	live       kubernetes.Interface
	clock      clock.PassiveClock
	going      *lru.Cache // namespace → time until which to ask live
}

// NewNamespaceLifecycle makes the plugin.
func NewNamespaceLifecycle(f informers.SharedInformerFactory, live kubernetes.Interface, c clock.PassiveClock) *NamespaceLifecycle {
	return &NamespaceLifecycle{Operations{Create, Update, Delete}, f.Core().V1().Namespaces().Lister(), live, c, lru.New(256)}
}

// Name implements Plugin.
func (*NamespaceLifecycle) Name() string { return "NamespaceLifecycle" }

var immortal = map[string]bool{metav1.NamespaceDefault: true, metav1.NamespaceSystem: true, metav1.NamespacePublic: true}

// Admit implements Mutator: it changes nothing, but must speak before others look into the namespace.
func (n *NamespaceLifecycle) Admit(ctx context.Context, r *Request) error {
	if r.Resource.Group == "" && r.Resource.Resource == "namespaces" {
		if r.Operation != Delete || r.Subresource != "" {
			return nil
		}
		if immortal[r.Name] {
			return apierrors.NewForbidden(r.Resource.GroupResource(), r.Name, fmt.Errorf("this namespace may not be deleted"))
		}
		n.going.Add(r.Name, n.clock.Now().Add(staleFor))
		return nil
	}
	if r.Namespace == "" || r.Operation == Delete || accessReview(r.Resource) {
		return nil
	}
	ns, err := n.find(ctx, r.Namespace)
	if err != nil {
		return err
	}
	if r.Operation != Create || ns.Status.Phase != corev1.NamespaceTerminating {
		return nil
	}
	// Clients look for these words.
	words := "unable to create new content in namespace " + r.Namespace + " because it is being terminated"
	e := apierrors.NewForbidden(r.Resource.GroupResource(), r.Name, errors.New(words))
	e.ErrStatus.Details.Causes = append(e.ErrStatus.Details.Causes, metav1.StatusCause{
		Type: corev1.NamespaceTerminatingCause, Message: fmt.Sprintf("namespace %s is being terminated", r.Namespace), Field: "metadata.namespace"})
	return e
}

func (n *NamespaceLifecycle) find(ctx context.Context, name string) (*corev1.Namespace, error) {
	ns, err := n.namespaces.Get(name)
	if until, ok := n.going.Get(name); ok {
		if n.clock.Now().Before(until.(time.Time)) {
			err = apierrors.NewNotFound(corev1.Resource("namespaces"), name)
		} else {
			n.going.Remove(name)
		}
	}
	if apierrors.IsNotFound(err) {
		ns, err = n.live.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, apierrors.NewInternalError(fmt.Errorf("get namespace %s: %w", name, err))
	}
	return ns, err
}

// accessReview: whether one may do something in a namespace can be asked before the namespace exists.
func accessReview(gvr schema.GroupVersionResource) bool {
	return gvr.Group == "authorization.k8s.io" && gvr.Resource == "localsubjectaccessreviews"
}
