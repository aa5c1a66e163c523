package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"

	"nau/internal/api"
)

// roleBinding declares the resource rolebindings.
func roleBinding() *api.Resource {
	return &api.Resource{
		Group: "rbac.authorization.k8s.io",
		Kind:  "RoleBinding", Plural: "rolebindings", Singular: "rolebinding",
		Namespaced: true,
		Versions:   []api.Version{{Name: "v1", New: api.New[rbacv1.RoleBinding](), NewList: api.New[rbacv1.RoleBindingList](), Default: api.Each(DefaultRoleBinding)}},
		Storage:    "v1",
		Prefix:     "rolebindings",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name:                path.ValidatePathSegmentName,
			Validate:            api.Check(validateRoleBinding),
			ValidateUpdate:      api.CheckChange(validateRoleBindingUpdate),
			CreateOnUpdate:      true,
			UnconditionalUpdate: true,
		},
		Columns: roleBindingColumns(),
	}
}
