// Package policy declares the resources of the API group policy: their strategies, defaults, validation and
// columns. It does no I/O; package builtin gathers it into the table.
package policy

import "nau/internal/api"

// Resources lists the group's resources.
func Resources() []*api.Resource {
	return []*api.Resource{
		podDisruptionBudget(),
	}
}
