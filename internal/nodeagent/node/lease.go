package node

import (
	"context"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// lease renews the node's lease until ctx ends. Source: KEP-589.
func (k *Keeper) lease(ctx context.Context) {
	var have *coordinationv1.Lease
	retry := retryMin
	for {
		next, err := k.renew(ctx, have)
		wait := k.cfg.LeaseRenewal
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			k.cfg.Log.Info("renew node lease", "err", err)
			wait, retry, have = retry, min(2*retry, retryMax), nil
		} else {
			retry, have = retryMin, next
		}
		if !k.sleep(ctx, wait) {
			return
		}
	}
}

// renew updates the lease that it got last time, or finds or makes it.
func (k *Keeper) renew(ctx context.Context, have *coordinationv1.Lease) (*coordinationv1.Lease, error) {
	leases := k.cfg.Client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	now := metav1.MicroTime{Time: k.cfg.Clock.Now()}
	if have == nil {
		got, err := leases.Get(ctx, k.cfg.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			seconds := int32(leaseLifetime)
			l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: k.cfg.Name, Namespace: corev1.NamespaceNodeLease},
				Spec: coordinationv1.LeaseSpec{HolderIdentity: &k.cfg.Name, LeaseDurationSeconds: &seconds, RenewTime: &now}}
			if o := k.Object(); o != nil {
				l.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: o.Name, UID: o.UID}}
			}
			return leases.Create(ctx, l, metav1.CreateOptions{})
		}
		if err != nil {
			return nil, err
		}
		have = got
	}
	l := have.DeepCopy()
	l.Spec.RenewTime, l.Spec.HolderIdentity = &now, &k.cfg.Name
	return leases.Update(ctx, l, metav1.UpdateOptions{})
}
