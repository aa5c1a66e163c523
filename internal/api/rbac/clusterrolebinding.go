package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"

	"nau/internal/api"
)

// clusterRoleBinding declares the resource clusterrolebindings.
func clusterRoleBinding() *api.Resource {
	return &api.Resource{
		Group: "rbac.authorization.k8s.io",
		Kind:  "ClusterRoleBinding", Plural: "clusterrolebindings", Singular: "clusterrolebinding",
		Versions: []api.Version{{Name: "v1", New: api.New[rbacv1.ClusterRoleBinding](), NewList: api.New[rbacv1.ClusterRoleBindingList](), Default: api.Each(DefaultClusterRoleBinding)}},
		Storage:  "v1",
		Prefix:   "clusterrolebindings",
		Verbs:    api.AllVerbs,
		Strategy: api.Strategy{
			Name:                path.ValidatePathSegmentName,
			Validate:            api.Check(validateClusterRoleBinding),
			ValidateUpdate:      api.CheckChange(validateClusterRoleBindingUpdate),
			CreateOnUpdate:      true,
			UnconditionalUpdate: true,
		},
		Columns: clusterRoleBindingColumns(),
	}
}
