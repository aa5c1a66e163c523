package rbac

import (
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"nau/internal/api"
	"nau/internal/api/column"
)

func roleColumns() []api.Column { return []api.Column{column.Name(), column.CreatedAt()} }

func bindingColumns[T runtime.Object](doc map[string]string, ref func(T) rbacv1.RoleRef, subjects func(T) []rbacv1.Subject) []api.Column {
	kind := func(kind string, print func(rbacv1.Subject) string) func(T) string {
		return func(o T) string {
			var out []string
			for _, s := range subjects(o) {
				if s.Kind == kind {
					out = append(out, print(s))
				}
			}
			return strings.Join(out, ", ")
		}
	}
	name := func(s rbacv1.Subject) string { return s.Name }
	return append([]api.Column{
		column.Name(),
		column.Text("Role", doc["roleRef"], func(o T) string { return ref(o).Kind + "/" + ref(o).Name }),
		column.Age(),
	}, column.Wide(
		column.Text("Users", "Users in the binding", kind(rbacv1.UserKind, name)),
		column.Text("Groups", "Groups in the binding", kind(rbacv1.GroupKind, name)),
		column.Text("ServiceAccounts", "ServiceAccounts in the binding", kind(rbacv1.ServiceAccountKind, func(s rbacv1.Subject) string { return s.Namespace + "/" + s.Name })),
	)...)
}

func roleBindingColumns() []api.Column {
	return bindingColumns(rbacv1.RoleBinding{}.SwaggerDoc(), func(b *rbacv1.RoleBinding) rbacv1.RoleRef { return b.RoleRef },
		func(b *rbacv1.RoleBinding) []rbacv1.Subject { return b.Subjects })
}

func clusterRoleBindingColumns() []api.Column {
	return bindingColumns(rbacv1.ClusterRoleBinding{}.SwaggerDoc(), func(b *rbacv1.ClusterRoleBinding) rbacv1.RoleRef { return b.RoleRef },
		func(b *rbacv1.ClusterRoleBinding) []rbacv1.Subject { return b.Subjects })
}
