// Package apps declares the resources of the API group apps: their strategies, defaults, validation and
// columns. It does no I/O; package builtin gathers it into the table.
package apps

import (
	"nau/internal/api"
	"nau/internal/api/meta"
)

// Resources lists the group's resources.
func Resources() []*api.Resource {
	return meta.Guarded([]*api.Resource{
		deployment(),
		replicaSet(),
		daemonSet(),
		statefulSet(),
		controllerRevision(),
	})
}
