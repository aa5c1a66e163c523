// Package scheduling declares the resources of the API group scheduling.k8s.io: their strategies, defaults, validation and
// columns. It does no I/O; package builtin gathers it into the table.
package scheduling

import "nau/internal/api"

// Resources lists the group's resources.
func Resources() []*api.Resource {
	return []*api.Resource{
		priorityClass(),
	}
}
