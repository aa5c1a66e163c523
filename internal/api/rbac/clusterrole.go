package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"

	"nau/internal/api"
)

// clusterRole declares the resource clusterroles.
func clusterRole() *api.Resource {
	return &api.Resource{
		Group: "rbac.authorization.k8s.io",
		Kind:  "ClusterRole", Plural: "clusterroles", Singular: "clusterrole",
		Versions: []api.Version{{Name: "v1", New: api.New[rbacv1.ClusterRole](), NewList: api.New[rbacv1.ClusterRoleList]()}},
		Storage:  "v1",
		Prefix:   "clusterroles",
		Verbs:    api.AllVerbs,
		Strategy: api.Strategy{
			Name:                path.ValidatePathSegmentName,
			Validate:            api.Check(validateClusterRole),
			CreateOnUpdate:      true,
			UnconditionalUpdate: true,
		},
		Columns: roleColumns(),
	}
}
