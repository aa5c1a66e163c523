package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"

	"nau/internal/api"
)

// role declares the resource roles.
func role() *api.Resource {
	return &api.Resource{
		Group: "rbac.authorization.k8s.io",
		Kind:  "Role", Plural: "roles", Singular: "role",
		Namespaced: true,
		Versions:   []api.Version{{Name: "v1", New: api.New[rbacv1.Role](), NewList: api.New[rbacv1.RoleList]()}},
		Storage:    "v1",
		Prefix:     "roles",
		Verbs:      api.AllVerbs,
		Strategy: api.Strategy{
			Name:                path.ValidatePathSegmentName,
			Validate:            api.Check(validateRole),
			CreateOnUpdate:      true,
			UnconditionalUpdate: true,
		},
		Columns: roleColumns(),
	}
}
