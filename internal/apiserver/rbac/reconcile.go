package rbac

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"golang.org/x/sync/errgroup"
)

// parallel writes share the store's syncs: a first start writes some hundred objects in the time of a few.
const parallel = 32

// Reconcile brings the cluster's roles and bindings up to the policy: one list per kind, then only the writes that are due. The client's user
// must be a member of system:masters.
func Reconcile(ctx context.Context, client kubernetes.Interface, p *Policy) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	api := client.RbacV1()
	all := metav1.ListOptions{ResourceVersion: "0"}

	roles, err := api.ClusterRoles().List(ctx, all)
	if err != nil {
		return fmt.Errorf("list cluster roles: %w", err)
	}
	bindings, err := api.ClusterRoleBindings().List(ctx, all)
	if err != nil {
		return fmt.Errorf("list cluster role bindings: %w", err)
	}
	nsRoles, err := api.Roles("").List(ctx, all)
	if err != nil {
		return fmt.Errorf("list roles: %w", err)
	}
	nsBindings, err := api.RoleBindings("").List(ctx, all)
	if err != nil {
		return fmt.Errorf("list role bindings: %w", err)
	}

	haveRoles := byName(roles.Items, func(r *rbacv1.ClusterRole) string { return r.Name })
	for _, want := range p.ClusterRoles {
		have := haveRoles[want.Name]
		g.Go(func() error { return writeClusterRole(ctx, client, have, want) })
	}
	haveBindings := byName(bindings.Items, func(b *rbacv1.ClusterRoleBinding) string { return b.Name })
	for _, want := range p.ClusterRoleBindings {
		have := haveBindings[want.Name]
		g.Go(func() error { return writeClusterBinding(ctx, client, have, want) })
	}
	haveNSRoles := byName(nsRoles.Items, func(r *rbacv1.Role) string { return r.Namespace + "/" + r.Name })
	for _, want := range p.Roles {
		have := haveNSRoles[want.Namespace+"/"+want.Name]
		g.Go(func() error { return writeRole(ctx, client, have, want) })
	}
	haveNSBindings := byName(nsBindings.Items, func(b *rbacv1.RoleBinding) string { return b.Namespace + "/" + b.Name })
	for _, want := range p.RoleBindings {
		have := haveNSBindings[want.Namespace+"/"+want.Name]
		g.Go(func() error { return writeBinding(ctx, client, have, want) })
	}
	return g.Wait()
}

func byName[T any](items []T, name func(*T) string) map[string]*T {
	out := make(map[string]*T, len(items))
	for i := range items {
		out[name(&items[i])] = &items[i]
	}
	return out
}

func writeClusterRole(ctx context.Context, client kubernetes.Interface, have, want *rbacv1.ClusterRole) error {
	api := client.RbacV1().ClusterRoles()
	if have == nil {
		_, err := api.Create(ctx, want, metav1.CreateOptions{})
		return told("create cluster role", want.Name, err)
	}
	if next := plannedClusterRole(have, want); next != nil {
		_, err := api.Update(ctx, next, metav1.UpdateOptions{})
		return told("update cluster role", want.Name, err)
	}
	return nil
}

func writeClusterBinding(ctx context.Context, client kubernetes.Interface, have, want *rbacv1.ClusterRoleBinding) error {
	api := client.RbacV1().ClusterRoleBindings()
	if have != nil {
		next, replace := plannedClusterBinding(have, want)
		if next == nil {
			return nil
		}
		if !replace {
			_, err := api.Update(ctx, next, metav1.UpdateOptions{})
			return told("update cluster role binding", want.Name, err)
		}
		if err := api.Delete(ctx, have.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &have.UID}}); err != nil && !apierrors.IsNotFound(err) {
			return told("delete cluster role binding", want.Name, err)
		}
	}
	_, err := api.Create(ctx, want, metav1.CreateOptions{})
	return told("create cluster role binding", want.Name, err)
}

func writeRole(ctx context.Context, client kubernetes.Interface, have, want *rbacv1.Role) error {
	api := client.RbacV1().Roles(want.Namespace)
	if have == nil {
		return told("create role", want.Name, inNamespace(ctx, client, want.Namespace, func() error {
			_, err := api.Create(ctx, want, metav1.CreateOptions{})
			return err
		}))
	}
	if next := plannedRole(have, want); next != nil {
		_, err := api.Update(ctx, next, metav1.UpdateOptions{})
		return told("update role", want.Name, err)
	}
	return nil
}

func writeBinding(ctx context.Context, client kubernetes.Interface, have, want *rbacv1.RoleBinding) error {
	api := client.RbacV1().RoleBindings(want.Namespace)
	if have != nil {
		next, replace := plannedBinding(have, want)
		if next == nil {
			return nil
		}
		if !replace {
			_, err := api.Update(ctx, next, metav1.UpdateOptions{})
			return told("update role binding", want.Name, err)
		}
		if err := api.Delete(ctx, have.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &have.UID}}); err != nil && !apierrors.IsNotFound(err) {
			return told("delete role binding", want.Name, err)
		}
	}
	return told("create role binding", want.Name, inNamespace(ctx, client, want.Namespace, func() error {
		_, err := api.Create(ctx, want, metav1.CreateOptions{})
		return err
	}))
}

// inNamespace creates something, and its namespace first if that is missing.
func inNamespace(ctx context.Context, client kubernetes.Interface, namespace string, create func() error) error {
	err := create()
	if !apierrors.IsNotFound(err) {
		return err
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if _, err := client.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create namespace %s: %w", namespace, err)
	}
	return create()
}

// told words an error. Another server that was first has done our work: its object or its update is as good.
func told(what, name string, err error) error {
	if err == nil || apierrors.IsAlreadyExists(err) || apierrors.IsConflict(err) {
		return nil
	}
	return fmt.Errorf("%s %s: %w", what, name, err)
}
