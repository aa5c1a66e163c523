// Package coordination declares the resources of the API group coordination.k8s.io: their strategies, defaults, validation and
// columns. It does no I/O; package builtin gathers it into the table.
package coordination

import (
	"nau/internal/api"
	"nau/internal/api/meta"
)

// Resources lists the group's resources.
func Resources() []*api.Resource {
	return meta.Guarded([]*api.Resource{
		lease(),
	})
}
