package authn

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
)

// Objects finds what a token is bound to. The uid is the one that the caller hopes for, "" for any: an implementation may answer from a cache
// if the cached object has it, and must look again if not, since the object may have been replaced a moment ago.
// Errors are API status errors.
type Objects interface {
	ServiceAccount(ctx context.Context, namespace, name string, uid types.UID) (*corev1.ServiceAccount, error)
	Pod(ctx context.Context, namespace, name string, uid types.UID) (*corev1.Pod, error)
	Secret(ctx context.Context, namespace, name string, uid types.UID) (*corev1.Secret, error)
	Node(ctx context.Context, name string, uid types.UID) (*corev1.Node, error)
}

type cluster struct {
	accounts corelisters.ServiceAccountLister
	pods     corelisters.PodLister
	secrets  corelisters.SecretLister
	nodes    corelisters.NodeLister
	live     kubernetes.Interface
}

// ObjectsFrom answers from informers, and asks live where they do not know. It registers the informers it needs with the
// factory, so it must be made before the factory starts.
func ObjectsFrom(f informers.SharedInformerFactory, live kubernetes.Interface) Objects {
	core := f.Core().V1()
	return &cluster{core.ServiceAccounts().Lister(), core.Pods().Lister(), core.Secrets().Lister(), core.Nodes().Lister(), live}
}

func (c *cluster) ServiceAccount(ctx context.Context, namespace, name string, uid types.UID) (*corev1.ServiceAccount, error) {
	return find(ctx, uid, c.accounts.ServiceAccounts(namespace).Get, c.live.CoreV1().ServiceAccounts(namespace).Get, name)
}

func (c *cluster) Pod(ctx context.Context, namespace, name string, uid types.UID) (*corev1.Pod, error) {
	return find(ctx, uid, c.pods.Pods(namespace).Get, c.live.CoreV1().Pods(namespace).Get, name)
}

func (c *cluster) Secret(ctx context.Context, namespace, name string, uid types.UID) (*corev1.Secret, error) {
	return find(ctx, uid, c.secrets.Secrets(namespace).Get, c.live.CoreV1().Secrets(namespace).Get, name)
}

func (c *cluster) Node(ctx context.Context, name string, uid types.UID) (*corev1.Node, error) {
	return find(ctx, uid, c.nodes.Get, c.live.CoreV1().Nodes().Get, name)
}

func find[T metav1.Object](ctx context.Context, uid types.UID, cached func(string) (T, error),
	live func(context.Context, string, metav1.GetOptions) (T, error), name string) (T, error) {
	obj, err := cached(name)
	if err == nil && (uid == "" || obj.GetUID() == uid) {
		return obj, nil
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return obj, err
	}
	return live(ctx, name, metav1.GetOptions{})
}
