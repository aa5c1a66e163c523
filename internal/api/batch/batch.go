// Package batch declares the resources of the API group batch: their strategies, defaults, validation and
// columns. It does no I/O; package builtin gathers it into the table.
package batch

import "nau/internal/api"

// Resources lists the group's resources.
func Resources() []*api.Resource {
	return []*api.Resource{
		job(),
		cronJob(),
	}
}
