// Package resource declares the resources of the API group resource.k8s.io: their strategies, defaults, validation and
// columns. It does no I/O; package builtin gathers it into the table.
package resource

import "nau/internal/api"

// Resources lists the group's resources.
func Resources() []*api.Resource {
	return []*api.Resource{
		deviceClass(),
		resourceClaim(),
		resourceClaimTemplate(),
		resourceSlice(),
	}
}
