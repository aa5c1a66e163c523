// Package discovery declares the resources of the API group discovery.k8s.io: their strategies, defaults, validation and
// columns. It does no I/O; package builtin gathers it into the table.
package discovery

import "nau/internal/api"

// Resources lists the group's resources.
func Resources() []*api.Resource {
	return []*api.Resource{
		endpointSlice(),
	}
}
