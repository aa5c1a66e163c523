// Package apiregistration declares the resources of the API group apiregistration.k8s.io: their strategies, defaults, validation and
// columns. It does no I/O; package builtin gathers it into the table.
package apiregistration

import "nau/internal/api"

// Resources lists the group's resources.
func Resources() []*api.Resource {
	return []*api.Resource{
		apiService(),
	}
}
