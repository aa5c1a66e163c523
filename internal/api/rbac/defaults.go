package rbac

import rbacv1 "k8s.io/api/rbac/v1"

func defaultRef(r *rbacv1.RoleRef) {
	if r.APIGroup == "" {
		r.APIGroup = rbacv1.GroupName
	}
}

func defaultSubjects(subjects []rbacv1.Subject) {
	for i := range subjects {
		s := &subjects[i]
		if s.APIGroup == "" && (s.Kind == rbacv1.UserKind || s.Kind == rbacv1.GroupKind) {
			s.APIGroup = rbacv1.GroupName
		}
	}
}

// DefaultRoleBinding: roles, users and groups belong to RBAC's own group.
func DefaultRoleBinding(b *rbacv1.RoleBinding) {
	defaultRef(&b.RoleRef)
	defaultSubjects(b.Subjects)
}

// DefaultClusterRoleBinding is DefaultRoleBinding for the whole cluster.
func DefaultClusterRoleBinding(b *rbacv1.ClusterRoleBinding) {
	defaultRef(&b.RoleRef)
	defaultSubjects(b.Subjects)
}
