// Package apps declares the resources of the API group apps: their strategies, defaults, validation and
// columns. It does no I/O; package builtin gathers it into the table.
package apps

import "nau/internal/api"

// Resources lists the group's resources.
func Resources() []*api.Resource {
	return []*api.Resource{
		deployment(),
		replicaSet(),
		daemonSet(),
		statefulSet(),
		controllerRevision(),
	}
}
