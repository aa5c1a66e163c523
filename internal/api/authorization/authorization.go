// Package authorization declares the resources of the API group authorization.k8s.io: their strategies, defaults, validation and
// columns. It does no I/O; package builtin gathers it into the table.
package authorization

import "nau/internal/api"

// Resources lists the group's resources.
func Resources() []*api.Resource {
	return []*api.Resource{
		subjectAccessReview(),
		selfSubjectAccessReview(),
		localSubjectAccessReview(),
		selfSubjectRulesReview(),
	}
}
